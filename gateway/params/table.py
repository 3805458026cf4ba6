"""Every parameter of the public API, one row for the endpoints that it stands at: what may it do?

The rows are those of vLLM 0.32's own API and of OpenAI's client, so that what a client sends is known by name. This
table is what `reading` refuses by, what `restricted` drops by, and `docs/parameters.md`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/embeddings",
)
ENDPOINTS = (CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS)
_TEXT = (CHAT, COMPLETIONS, RESPONSES)
_PLAIN = (CHAT, COMPLETIONS)
_TALK = (CHAT, RESPONSES)


class Policy(StrEnum):
    """What becomes of a parameter."""

    PASS = "pass"  # noqa: S105
    INSPECT = "inspect"
    RESTRICT = "restrict"
    EVALUATE = "evaluate"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Row:
    """One parameter. A client that is refused reads the `remark`. `default` says what the absence of it says."""

    name: str
    endpoints: tuple[str, ...]
    policy: Policy
    remark: str
    default: Any = None

    def idle(self, value: Any) -> bool:
        """Whether this value says no more than its absence: null, the default, or an empty one where there is none."""
        if value is None:
            return True
        if self.default is None:
            return value is False or value in ([], {})
        # numbers are alike, but True is no 1
        return bool(value == self.default) and isinstance(value, bool) == isinstance(self.default, bool)


def _rows(policy: Policy, *given: tuple[Any, ...]) -> Iterable[Row]:
    for names, endpoints, remark, *default in given:
        yield from (Row(name, endpoints, policy, remark, *default) for name in names.split())


_KEPT = "accepted, not passed on"
_TOLD = "the prompt is not scored"
_PREFILL = "answers cannot be prefilled"
_OWN = "the template is the model's own"
_WHOLE = "the prompt that is read by the guards is the one that is answered, whole"
_LETTERS = "token ids and templates are not shown"
_INNER = "not for clients"
_MEDIA = "only text can be read by the guards"
_HISTORY = "no history is kept here: send it as input"
_FORCED = "what forces words out of the model is not for all questions"
_ENDED = "an answer that has ended is not made to go on"

ROWS: Final[tuple[Row, ...]] = (
    *_rows(
        Policy.PASS,
        ("model", ENDPOINTS, "must be the one that is served; no other name can be chosen"),
        ("temperature", _TEXT, "0 to 2; this and the rules below are the model's own by default"),
        ("top_p", _TEXT, "above 0, up to 1"),
        ("top_k", _TEXT, "-1 and 0 are no limit"),
        ("min_p", _TEXT, "0 to 1"),
        ("seed", _TEXT, "a 64-bit integer"),
        ("presence_penalty frequency_penalty", _TEXT, "-2 to 2"),
        ("repetition_penalty", _TEXT, "above 0, up to 2"),
        ("n", _PLAIN, "up to `limits.n`"),
        ("stop", _TEXT, "up to `limits.stop` texts, looked for in what is shown: where an answer ends tells nothing"),
        ("max_tokens", (CHAT,), "what fits, by default"),
        ("max_tokens", (COMPLETIONS,), "16 by default"),
        ("max_completion_tokens", (CHAT,), "wins over `max_tokens`"),
        ("max_output_tokens", (RESPONSES,), "what fits, by default"),
        ("logprobs", (CHAT,), "of the answer as it was made; where the engine can give them"),
        ("logprobs", (COMPLETIONS,), "0 to 5; where the engine can give them"),
        ("top_logprobs", (CHAT,), "0 to 20, with `logprobs`"),
        ("stream", _TEXT, "server-sent events"),
        ("stream_options", _PLAIN, "`include_usage`; `include_obfuscation` does nothing"),
        ("stream_options", (RESPONSES,), "`include_obfuscation` does nothing"),
        ("tool_choice parallel_tool_calls", _TALK, "with `tools`, where the engine calls tools"),
        ("reasoning_effort", (CHAT,), "where the engine reasons"),
        ("include_reasoning", _TALK, "where the engine reasons"),
        ("thinking_token_budget", _PLAIN, "where the engine reasons"),
        (
            "reasoning",
            (RESPONSES,),
            "`effort`, where the engine reasons; `summary` is accepted: reasoning is shown whole",
        ),
        ("chat_template_kwargs", _TALK, "`enable_thinking` alone, where the engine reasons"),
        ("dimensions", (EMBEDDINGS,), "length of the vectors, where the model can shorten them"),
        ("encoding_format", (EMBEDDINGS,), "`float` or `base64`"),
        ("user", ENDPOINTS, _KEPT),
        ("metadata", _TEXT, _KEPT),
        ("prompt_cache_key safety_identifier service_tier", _TEXT, _KEPT),
        ("prompt_cache_retention", _TALK, _KEPT),
        ("verbosity", (CHAT,), _KEPT),
        ("spaces_between_special_tokens stream_interval", _PLAIN, _KEPT),
    ),
    *_rows(
        Policy.INSPECT,
        ("messages", (CHAT,), "text, tool calls and their results; roles system, developer, user, assistant, tool"),
        ("prompt", (COMPLETIONS,), "one text"),
        ("input", (RESPONSES,), "a text, or messages, function calls, their outputs and reasoning"),
        ("input", (EMBEDDINGS,), "up to `limits.inputs` texts, each read by itself"),
        ("instructions", (RESPONSES,), "the first system message"),
        ("tools", _TALK, "functions, every word of them; where the engine calls tools"),
        ("documents", (CHAT,), "read, and refused: no engine takes them yet"),
        ("response_format", (CHAT,), "`text`, `json_object` or `json_schema`, every word of the schema"),
        ("structured_outputs", (CHAT,), "vLLM's own: `json`, `regex`, `choice`, `grammar`, every word of them"),
        ("text", (RESPONSES,), "`format`, as `response_format`; `verbosity` is accepted, not passed on"),
    ),
    *_rows(
        Policy.RESTRICT,
        ("logit_bias", _TEXT, _FORCED),
        ("allowed_token_ids", _PLAIN, _FORCED),
    ),
    *_rows(Policy.EVALUATE, ("echo", (COMPLETIONS,), _TOLD)),
    *_rows(
        Policy.REFUSE,
        ("min_tokens", _PLAIN, _ENDED, 0),
        ("ignore_eos", _TEXT, _ENDED, False),
        ("bad_words", _PLAIN, "not supported"),
        ("prompt_embeds", _PLAIN, "embeddings cannot be read by the guards"),
        ("echo", (CHAT,), _TOLD),
        ("prompt_logprobs", _PLAIN, _TOLD),
        ("logprob_token_ids", _PLAIN, "use top_logprobs, which are those of the answer"),
        ("top_logprobs", (RESPONSES,), "not supported", 0),
        ("include", (RESPONSES,), "not supported"),
        ("suffix", (COMPLETIONS,), "not supported"),
        ("response_format structured_outputs", (COMPLETIONS,), "use chat completions"),
        ("structured_outputs", (RESPONSES,), "use text.format"),
        ("best_of", (COMPLETIONS, CHAT), "use n"),
        ("use_beam_search", _PLAIN, "not supported"),
        ("length_penalty", _PLAIN, "not supported", 1.0),
        ("watermarking repetition_detection", _TEXT, "not supported"),
        ("add_generation_prompt", (CHAT,), _PREFILL, True),
        ("add_generation_prompt", (EMBEDDINGS,), _OWN, False),
        ("continue_final_message", (CHAT, EMBEDDINGS), _PREFILL, False),
        ("chat_template", (CHAT, EMBEDDINGS), _OWN),
        ("chat_template_kwargs", (EMBEDDINGS,), _OWN),
        ("add_special_tokens", (CHAT,), _OWN, False),
        ("add_special_tokens", (COMPLETIONS, EMBEDDINGS), _WHOLE, True),
        ("truncate_prompt_tokens truncation_side", (CHAT, COMPLETIONS, EMBEDDINGS), _WHOLE),
        ("truncation", (RESPONSES,), _WHOLE, "disabled"),
        ("padding", (EMBEDDINGS,), _WHOLE, "do_not_pad"),
        ("skip_special_tokens", _TEXT, _LETTERS, True),
        ("stop_token_ids", _TEXT, "use stop, which is looked for in what is shown"),
        ("include_stop_str_in_output", _TEXT, "a stop string ends what is shown", False),
        ("return_token_ids return_tokens_as_token_ids return_token_offsets", _PLAIN, _LETTERS),
        ("return_prompt_text", (CHAT,), _LETTERS),
        ("enable_response_messages", (RESPONSES,), _LETTERS),
        ("kv_transfer_params ec_transfer_params vllm_xargs", _TEXT, _INNER),
        ("cache_salt request_id", ENDPOINTS, _INNER),
        ("session_id", _TEXT, _INNER),
        ("priority", ENDPOINTS, _INNER, 0),
        ("routed_experts_prompt_start", _PLAIN, _INNER, 0),
        ("mm_payload", _TEXT, _INNER, "tensors"),
        ("return_mm_kwargs", _TEXT, _INNER),
        ("media_io_kwargs mm_processor_kwargs", (CHAT, RESPONSES, EMBEDDINGS), _MEDIA),
        ("functions function_call", (CHAT,), "use tools"),
        ("modalities", (CHAT,), _MEDIA, ["text"]),
        ("audio", (CHAT,), _MEDIA),
        ("image", (RESPONSES,), _MEDIA),
        ("prediction", (CHAT,), "not supported"),
        ("web_search_options", (CHAT,), "nothing is looked up"),
        ("prompt_cache_options moderation", _TALK, "not supported"),
        ("store", _TEXT, "nothing is kept"),
        ("background", (RESPONSES,), "nothing is kept"),
        ("previous_response_id conversation previous_input_messages", (RESPONSES,), _HISTORY),
        ("prompt context_management", (RESPONSES,), _HISTORY),
        ("max_tool_calls access_programs", (RESPONSES,), "tools are called by the client"),
        ("messages", (EMBEDDINGS,), "use input"),
        ("embed_dtype", (EMBEDDINGS,), "not supported", "float32"),
        ("endianness", (EMBEDDINGS,), "not supported", "native"),
        ("use_activation", (EMBEDDINGS,), "not supported"),
    ),
)


def _of(endpoint: str) -> Mapping[str, Row]:
    return MappingProxyType({row.name: row for row in ROWS if endpoint in row.endpoints})


BY_ENDPOINT: Final[Mapping[str, Mapping[str, Row]]] = MappingProxyType({one: _of(one) for one in ENDPOINTS})
RESTRICTED: Final = frozenset(row.name for row in ROWS if row.policy is Policy.RESTRICT)
