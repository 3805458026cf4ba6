"""Requests to vLLM, made anew from what we understand: nothing of a client's own body is forwarded.

What the model reads goes as the very token ids that were classified. A chat takes them by
`kv_transfer_params` (vLLM 0.32; tested on every replica before it serves), so that the server's parsers of
tools and reasoning go on; the messages that it wants beside them are not looked at.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from adapters.base import Call, EngineRejected, Rules
from gateway.params.table import RESTRICTED
from guards.base import DEFINITION

# What a client leaves open is the server's to say (of the model's generation_config.json). Where log-probabilities are
# asked for nothing is left to it: untouched answers' would be of its rules, ready ones' not.
NEUTRAL = asdict(Rules())
GREEDY = NEUTRAL | {"temperature": 0}
_NO_MESSAGE = [{"role": "user", "content": "."}]
MOST_LOGPROBS = 28  # that vLLM is told to give: what a client may have, and a spare
# Fields that an error may name: those that a client could have sent.
FIELDS = frozenset({"messages", "prompt", "n", "logprobs", "tools", "tool_choice", "max_tokens", "seed", *NEUTRAL})
OPTIONS = frozenset(
    {
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "structured_outputs",
        "reasoning_effort",
        "include_reasoning",
        "thinking_token_budget",
        "chat_template_kwargs",
        "logit_bias",
        "allowed_token_ids",
    }
)
TOOLS = frozenset({"tools", "tool_choice", "parallel_tool_calls"})
_FORMS = RESTRICTED | {"response_format", "structured_outputs"}


def check(call: Call, vocabulary: int) -> None:
    """Say what the server would: a touched call may be sent without what forces words, and would hear nothing there.

    Raises:
        EngineRejected: options that make no sense, for a model of that many tokens.
    """
    options = call.options
    for name in ("logit_bias", "allowed_token_ids"):
        if any(int(token) >= vocabulary for token in options.get(name) or ()):
            raise EngineRejected(f"{name} names a token that the model does not have", name)


def path(call: Call) -> str:
    """Where the call goes."""
    return "completions" if call.raw else "chat/completions"


def common(model: str, call: Call, limit: int | None, salt: str, stream: bool = True) -> dict[str, Any]:
    """All but what the model reads. `limit`: of tokens, in place of the call's own."""
    sampling = call.sampling
    body: dict[str, Any] = {
        "model": model,
        **({"stream": True, "stream_options": {"include_usage": True}} if stream else {}),
        "n": sampling.n,
        "cache_salt": salt,
        **sampling.said,
        **call.options,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if (most := sampling.max_tokens if limit is None else limit) is not None:
        body["max_tokens"] = most
    if sampling.logprobs is not None:
        told = min(sampling.logprobs, MOST_LOGPROBS)
        body = NEUTRAL | body | ({"logprobs": told} if call.raw else {"logprobs": True, "top_logprobs": told})
    return body


def of_ids(raw: bool, token_ids: Sequence[int]) -> dict[str, Any]:
    """The prompt as token ids."""
    if raw:
        return {"prompt": list(token_ids)}
    return {"messages": _NO_MESSAGE, "kv_transfer_params": {"prompt_token_ids": list(token_ids)}}


def of_parts(call: Call, parts: Mapping[int, str]) -> dict[str, Any]:
    """The prompt as messages, those of `parts` (turn → base64) as embeddings."""
    messages: list[dict[str, Any]] = []
    for i, turn in enumerate(call.conversation.turns):
        if turn.role != DEFINITION:
            content = [{"type": "prompt_embeds", "data": parts[i]}] if i in parts else turn.content
            messages.append({**(turn.message or {}), "role": turn.role, "content": content})
    return {"messages": messages}


def plain(call: Call) -> Call:
    """The call whose answer is given in words: no tool is called, no schema kept, no word forced."""
    kept = {name: value for name, value in call.options.items() if name not in _FORMS}
    return replace(call, options=kept | ({"tool_choice": "none"} if "tools" in kept else {}), dropped=call.options)


def unnamed(call: Call, name: Collection[int]) -> Call:
    """The call without the tokens of a name among those it wants said: made to write it, a model goes on from there."""
    options = dict(call.options)
    if allowed := options.get("allowed_token_ids"):
        options["allowed_token_ids"] = [token for token in allowed if token not in name] or allowed
    if bias := options.get("logit_bias"):
        options["logit_bias"] = {token: value for token, value in bias.items() if int(token) not in name}
    return replace(call, options=options)


def forced(call: Call) -> bool:
    """Whether the client wants an answer of a form, or of words, that no ready one has."""
    options = call.options
    if not RESTRICTED.isdisjoint(options):
        return True
    choice, form = options.get("tool_choice"), options.get("response_format") or {}
    tool = choice == "required" or isinstance(choice, Mapping)
    return tool or bool(options.get("structured_outputs")) or form.get("type", "text") != "text"
