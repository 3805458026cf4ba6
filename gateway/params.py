"""What every request parameter may do: bodies are read by an allow-list, and what is not on it is refused by name.

A parameter is either prompt text (read by the guards), sampling (passed on), bookkeeping (accepted,
and not passed on), or refused: because it would let a client read the model past the guards, or
because nothing here honours it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from adapters.base import Call, Sampling
from gateway.errors import BadRequest
from gateway.settings import LimitSettings
from guards.base import Conversation, Turn

# Each would open a way past the guards, or name the machinery; the reason is what a client reads.
_REFUSED: Mapping[str, str] = {
    "prompt_embeds": "embeddings cannot be read by the guards",
    "prompt_logprobs": "the prompt is not scored",
    "echo": "the prompt is not scored",
    "suffix": "not supported",
    "add_generation_prompt": "answers cannot be prefilled",
    "continue_final_message": "answers cannot be prefilled",
    "chat_template": "the template is the model's own",
    "chat_template_kwargs": "the template is the model's own",
    "tools": "this engine calls no tools",
    "tool_choice": "this engine calls no tools",
    "functions": "this engine calls no tools",
    "function_call": "this engine calls no tools",
    "logit_bias": "not supported",
    "best_of": "not supported; use n",
}


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: str = Field(min_length=1)
    # sampling
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    max_tokens: int | None = Field(default=None, ge=1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    n: int | None = Field(default=None, ge=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    repetition_penalty: float | None = Field(default=None, gt=0, le=2)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_k: int | None = Field(default=None, ge=-1)
    top_p: float | None = Field(default=None, gt=0, le=1)
    # how to answer
    stream: bool | None = None
    stream_options: "StreamOptions | None" = None
    # bookkeeping
    metadata: dict[str, str] | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: Literal[False] | None = None
    user: str | None = None

    @field_validator("stop")
    @classmethod
    def _stops_say_something(cls, value: str | list[str] | None) -> str | list[str] | None:
        if value is not None and any(not stop for stop in ([value] if isinstance(value, str) else value)):
            raise ValueError("a stop string must not be empty")
        return value

    def _sampling(self, max_tokens: int | None, logprobs: int | None, limits: LimitSettings) -> Sampling:
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        if len(stop) > limits.stop:
            raise BadRequest(f"stop holds {len(stop)} strings; the limit is {limits.stop}.", param="stop")
        if (self.n or 1) > limits.n:
            raise BadRequest(f"n is {self.n}; the limit is {limits.n}.", param="n")
        given = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": None if self.top_k == -1 else self.top_k,
            "min_p": self.min_p,
            "n": self.n,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "repetition_penalty": self.repetition_penalty,
        }
        return Sampling(
            max_tokens=max_tokens,
            seed=self.seed,
            stop=stop,
            logprobs=logprobs,
            **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
        )

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with a chunk of usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


class StreamOptions(BaseModel):
    """OpenAI's `stream_options`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class TextPart(BaseModel):
    """The one kind of content part that the guards can read."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message. `name` is accepted and not rendered."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None
    refusal: None = None

    @property
    def text(self) -> str:
        """What the model will read."""
        return self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)


def conversation_of(messages: Sequence[Message]) -> Conversation:
    """The turns of OpenAI's messages. `developer` is its newer word for `system`; templates know the old one."""
    return Conversation(tuple(Turn("system" if m.role == "developer" else m.role, m.text) for m in messages))


class ResponseFormat(BaseModel):
    """Plain text is all that is promised here."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    type: Literal["text"]


class ChatBody(_Body):
    """`POST /v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1)
    logprobs: bool | None = None
    max_completion_tokens: int | None = Field(default=None, ge=1)
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)

    def call(self, limits: LimitSettings) -> Call:
        """The generation that is asked for."""
        if self.top_logprobs is not None and not self.logprobs:
            raise BadRequest("top_logprobs needs logprobs to be true.", param="top_logprobs")
        logprobs = (self.top_logprobs or 0) if self.logprobs else None
        sampling = self._sampling(self.max_completion_tokens or self.max_tokens, logprobs, limits)
        return Call(conversation_of(self.messages), sampling)


class CompletionBody(_Body):
    """`POST /v1/completions`. Token ids are refused: the guards read text."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]
    logprobs: int | None = Field(default=None, ge=0, le=5)

    def call(self, limits: LimitSettings) -> Call:
        """The generation that is asked for; 16 tokens by default, as OpenAI's."""
        text = self.prompt if isinstance(self.prompt, str) else self.prompt[0]
        sampling = self._sampling(16 if self.max_tokens is None else self.max_tokens, self.logprobs, limits)
        return Call(Conversation((Turn("user", text),)), sampling, raw=True)


def restricted(call: Call) -> Call:
    """A touched call, without the options by which an answer could be forced out of the model."""
    return replace(call, options={name: value for name, value in call.options.items() if name not in _RESTRICTED})


_RESTRICTED = frozenset({"logit_bias", "allowed_token_ids", "bad_words", "min_tokens", "ignore_eos"})

B = TypeVar("B", bound=BaseModel)


def read(body: type[B], raw: bytes) -> B:
    """A body from the bytes of a request.

    Raises:
        BadRequest: not JSON, or a parameter that is missing, unknown, refused or makes no sense; `param` names it.
    """
    try:
        values = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise BadRequest("The body of the request is not valid JSON.") from None
    if not isinstance(values, dict):
        raise BadRequest("The body of the request must be a JSON object.")
    for name, reason in _REFUSED.items():
        if values.get(name) not in (None, [], {}, False):
            raise BadRequest(f"{name} is refused: {reason}.", param=name, code="unsupported_parameter")
        values.pop(name, None)
    try:
        return body.model_validate(values)
    except ValidationError as error:
        field, reason = field_of(error.errors(include_input=False, include_url=False))
        raise BadRequest(f"{field}: {reason}.", param=field) from None


def field_of(errors: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Of pydantic's errors the deepest field at fault, as `messages[0].role`, and why; never its value."""
    found = max(errors, key=lambda item: len(item["loc"]))
    field = ""
    for part in found["loc"]:
        if isinstance(part, int):
            field += f"[{part}]"
        elif part.isidentifier() and part not in {"str", "int", "float"}:  # not pydantic's names for a union's branches
            field += f".{part}" if field else part
    reason = {"extra_forbidden": "unknown parameter", "missing": "required"}.get(found["type"], found["msg"])
    return field or "body", reason.rstrip(".")
