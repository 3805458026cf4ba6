"""What the events of a streamed answer say: OpenAI's chunks of chat and completions, read into deltas."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from adapters.base import (
    Delta,
    Ending,
    EngineError,
    EngineRejected,
    EngineUnavailable,
    TokenLogprob,
    ToolCall,
    Usage,
    Wire,
)
from gateway.engines.events import Event

_FINISHES = {"stop": "stop", "length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls"}


def read(event: Event, ending: Ending | None = None) -> list[Delta | Usage]:
    """What one event says. An event that says one thing, and nothing unread, is that thing's `wire`, byte for byte.

    `ending` is how the server ends its answers.

    Raises:
        EngineRejected: the server refuses the request now: what it checks late.
        EngineUnavailable: the server failed in the middle of its answer.
        EngineError: it is no such event.
    """
    try:
        chunk = orjson.loads(event.data)
        if error := chunk.get("error"):
            raise _failure(error)
        if not {"id", "created", "model"} <= chunk.keys():
            raise KeyError("id")
        wire = Wire(event.raw, chunk, ending)
        choices = chunk.get("choices") or ()
        found: list[Delta | Usage] = [delta for choice in choices for delta in _deltas(choice, wire)]
        unread = any(map(_unread, choices))
        if counted := chunk.get("usage"):
            found.append(Usage(int(counted["prompt_tokens"]), int(counted.get("completion_tokens") or 0), wire))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EngineError("the upstream's answer cannot be read") from None
    if len(found) == 1 and not unread:
        return found
    shape = wire.changed()
    return [_shaped(one, shape) for one in found]


def read_whole(body: bytes) -> list[Delta | Usage]:
    """What a whole answer says, as `read` gives it of one in events.

    Raises:
        EngineUnavailable, EngineError: see there.
    """
    try:
        answer = orjson.loads(body)
        nothing = Wire(b"", answer)
        found: list[Delta | Usage] = []
        for choice in answer["choices"]:
            gained = choice if "text" in choice else {**choice, "delta": choice["message"]}
            found += [
                Delta(one.index, one.text, one.tokens, one.finish, one.channel, one.tool)
                for one in _deltas(gained, nothing)
            ]
        counted = answer["usage"]
        return [*found, Usage(int(counted["prompt_tokens"]), int(counted.get("completion_tokens") or 0))]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EngineError("the upstream's answer cannot be read") from None


def tokens_in(delta: Delta) -> int:
    """How many tokens came in the event of a delta, where the server was asked for their ids; else one."""
    choices = delta.wire.event.get("choices") if delta.wire else None
    token_ids = choices[0].get("token_ids") if choices else None
    return len(token_ids) if token_ids else 1


def opening(index: int, wire: Wire) -> Delta:
    """How choice `index` of a chat begins where a completion's first event is `wire`."""
    choice = {"index": index, "delta": None, "logprobs": None, "finish_reason": None}
    more = {"prompt_token_ids": None, "prompt_text": None}
    event = {**_chat_head(wire.event), "choices": [choice], **more}
    return Delta(index, "", opening=True, wire=Wire(b"", event, wire.ending))


def as_chat(wire: Wire) -> Wire:
    """The shape of a chat's event for an event of a completion (vLLM 0.32). Its ending is a chat's already."""
    shell = _chat_head(wire.event)
    if not wire.event["choices"]:
        rest = {key: value for key, value in wire.event.items() if key not in shell}
        return Wire(b"", {**shell, **rest}, wire.ending)
    ends = wire.event["choices"][0].get("finish_reason") is not None
    fields = ("index", "delta", "logprobs", "finish_reason", *(("stop_reason",) if ends else ()), "token_ids")
    choice = {**dict.fromkeys(fields), "token_ids": wire.event["choices"][0].get("token_ids")}
    return Wire(b"", {**shell, "choices": [choice]}, wire.ending)


def _chat_head(event: Mapping[str, Any]) -> dict[str, Any]:
    made = "chatcmpl-" + str(event["id"]).removeprefix("cmpl-")
    return {"id": made, "object": "chat.completion.chunk", "created": event["created"], "model": event["model"]}


def _shaped(one: Delta | Usage, wire: Wire) -> Delta | Usage:
    if isinstance(one, Usage):
        return Usage(one.prompt_tokens, one.completion_tokens, wire)
    return Delta(one.index, one.text, one.tokens, one.finish, one.channel, one.tool, one.opening, wire=wire)


def _failure(error: Any) -> EngineError:
    if isinstance(error, Mapping) and error.get("code") == 400:
        return EngineRejected("the upstream refuses this request")
    return EngineUnavailable("the upstream failed in the middle of its answer")


def _deltas(choice: Mapping[str, Any], wire: Wire) -> Iterator[Delta]:
    """One delta for every channel that gained something; the last carries the end."""
    index, reason = int(choice.get("index", 0)), choice.get("finish_reason")
    if reason is not None and reason not in _FINISHES:  # aborted, or a failure
        raise EngineUnavailable("the upstream gave up its answer")
    finish: Any = _FINISHES[reason] if reason else None
    gained = choice.get("delta")
    if gained is None:
        yield Delta(index, _text(choice["text"]), tuple(_scored(choice.get("logprobs"))), finish, wire=wire)
        return
    parts = [*_gained(gained)]
    if not parts and finish is None and gained.get("role"):
        yield Delta(index, "", opening=True, wire=wire)
        return
    parts = parts or [("content", "", None)]  # a token that is no whole character yet, or the end
    for channel, text, tool in parts[:-1]:
        yield Delta(index, text, channel=channel, tool=tool, wire=wire)
    channel, text, tool = parts[-1]
    tokens = tuple(_chat_scored(choice.get("logprobs")))
    yield Delta(index, text, tokens, finish, channel, tool, wire=wire)


def _gained(delta: Mapping[str, Any]) -> Iterator[tuple[str, str, ToolCall | None]]:
    """(channel, text, the beginning of a tool call)."""
    if thought := delta.get("reasoning") or delta.get("reasoning_content"):
        yield "reasoning", _text(thought), None
    for place, call in enumerate(delta.get("tool_calls") or ()):
        function = call.get("function") or {}
        name = _text(function.get("name") or "")
        begun = ToolCall(str(call.get("id") or ""), name) if call.get("id") or name else None
        yield f"tool {int(call.get('index', place))}", _text(function.get("arguments") or ""), begun
    if content := delta.get("content"):
        yield "content", _text(content), None


def _unread(choice: Mapping[str, Any]) -> bool:
    """Whether it holds text that no delta has."""
    gained = choice.get("delta")
    rest = _others(choice, "index", "delta", "logprobs", "finish_reason", "text" if gained is None else "delta")
    rest += _others(choice.get("logprobs"), "content", "tokens", "top_logprobs")
    gained = gained or {}
    thought = "reasoning" if gained.get("reasoning") else "reasoning_content"
    rest += _others(gained, "role", "content", "tool_calls", thought)
    if gained.get("role") != "assistant":
        rest.append(gained.get("role"))
    for call in gained.get("tool_calls") or ():
        rest += _others(call, "index", "id", "function", "type" if call.get("type") == "function" else "id")
        rest += _others(call.get("function"), "name", "arguments")
    return any(map(_says, rest))


def _others(fields: Mapping[str, Any] | None, *known: str) -> list[Any]:
    return [value for name, value in (fields or {}).items() if name not in known]


def _says(value: Any) -> bool:
    """Whether there is text in it, at any depth."""
    if isinstance(value, Mapping):
        return any(map(_says, value.values()))
    return any(map(_says, value)) if isinstance(value, list) else isinstance(value, str) and value != ""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text")
    return value


def _chat_scored(logprobs: Any) -> Iterator[TokenLogprob]:
    for token in (logprobs or {}).get("content") or ():
        top = tuple((_text(one["token"]), float(one["logprob"])) for one in token.get("top_logprobs") or ())
        yield TokenLogprob(_text(token["token"]), float(token["logprob"]), top)


def _scored(logprobs: Any) -> Iterator[TokenLogprob]:
    if not logprobs:
        return
    tokens: Sequence[str] = logprobs["tokens"]
    tops = logprobs.get("top_logprobs") or [None] * len(tokens)
    for token, logprob, top in zip(tokens, logprobs["token_logprobs"], tops, strict=True):
        best = sorted(((_text(text), float(p)) for text, p in (top or {}).items()), key=lambda one: -one[1])
        yield TokenLogprob(_text(token), float(logprob), tuple(best))
