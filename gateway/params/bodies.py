"""The bodies of chat, completions and embeddings, and the calls that they ask for."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from adapters.base import Call, Sampling
from gateway.errors import BadRequest
from gateway.params.messages import Message, conversation_of
from gateway.params.options import (
    TOOLS,
    Bias,
    Effort,
    Options,
    ResponseFormat,
    StreamOptions,
    StructuredOutputs,
    TemplateSwitches,
    TokenId,
    Tool,
    ToolChoice,
    chosen,
    defined,
    formed,
    reasoned,
)
from gateway.params.reading import Body
from gateway.params.table import CHAT, COMPLETIONS, EMBEDDINGS
from gateway.settings import LimitSettings
from guards.base import Conversation, Turn


class Generation(Body):
    """What chat, completions and responses have in common."""

    # sampling
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    min_p: float | None = Field(default=None, ge=0, le=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    repetition_penalty: float | None = Field(default=None, gt=0, le=2)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_k: int | None = Field(default=None, ge=-1)
    top_p: float | None = Field(default=None, gt=0, le=1)
    # options
    logit_bias: Bias | None = None
    # how to answer
    stream: bool | None = None
    # bookkeeping
    metadata: dict[str, str] | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    user: str | None = None

    # what the client calls an option that has another name in `Call.options`
    spelled: ClassVar[Mapping[str, str]] = {}

    @field_validator("stop")
    @classmethod
    def _stops_say_something(cls, value: str | list[str] | None) -> str | list[str] | None:
        if value is not None and any(not stop for stop in ([value] if isinstance(value, str) else value)):
            raise ValueError("a stop string must not be empty")
        return value

    def call(self, limits: LimitSettings) -> Call:
        """The generation that is asked for.

        Raises:
            BadRequest: over a limit, or parameters that do not go together.
        """
        raise NotImplementedError

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with a chunk of usage."""
        return False

    @property
    def echoes(self) -> bool:
        """Whether the answer begins with the prompt, scored: `read` lets only those ask who may evaluate."""
        return False

    def _sampling(self, max_tokens: int | None, logprobs: int | None, limits: LimitSettings, n: int = 1) -> Sampling:
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        if len(stop) > limits.stop:
            raise BadRequest(f"stop holds {len(stop)} strings; the limit is {limits.stop}.", param="stop")
        if n > limits.n:
            raise BadRequest(f"n is {n}; the limit is {limits.n}.", param="n")
        return Sampling(
            max_tokens=max_tokens,
            seed=self.seed,
            stop=stop,
            n=n,
            logprobs=logprobs,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=0 if self.top_k == -1 else self.top_k,
            min_p=self.min_p,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
        )

    def _options(self) -> Options:
        """Those that say something."""
        found: Options = {}
        if self.logit_bias:
            found["logit_bias"] = self.logit_bias
        return found


class _Plain(Generation):
    """Chat and completions."""

    max_tokens: int | None = Field(default=None, ge=1)
    n: int | None = Field(default=None, ge=1)
    allowed_token_ids: list[TokenId] | None = Field(default=None, max_length=1024)
    thinking_token_budget: int | None = Field(default=None, ge=0)
    stream_options: StreamOptions | None = None
    spaces_between_special_tokens: bool | None = None
    stream_interval: int | None = Field(default=None, ge=1)

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def _options(self) -> Options:
        found = super()._options()
        if self.allowed_token_ids:
            found["allowed_token_ids"] = self.allowed_token_ids
        if self.thinking_token_budget is not None:
            found["thinking_token_budget"] = self.thinking_token_budget
        return found


class ChatBody(_Plain):
    """`POST /v1/chat/completions`."""

    endpoint: ClassVar[str] = CHAT

    messages: list[Message] = Field(min_length=1)
    chat_template_kwargs: TemplateSwitches | None = None
    documents: list[dict[str, str]] | None = None
    include_reasoning: bool | None = None
    logprobs: bool | None = None
    max_completion_tokens: int | None = Field(default=None, ge=1)
    parallel_tool_calls: bool | None = None
    prompt_cache_retention: str | None = None
    reasoning_effort: Effort | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    tool_choice: ToolChoice | None = None
    tools: list[Tool] | None = Field(default=None, max_length=TOOLS)
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    verbosity: Literal["low", "medium", "high"] | None = None

    def call(self, limits: LimitSettings) -> Call:
        if self.top_logprobs and not self.logprobs:
            raise BadRequest("top_logprobs needs logprobs to be true.", param="top_logprobs")
        logprobs = (self.top_logprobs or 0) if self.logprobs else None
        sampling = self._sampling(self.max_completion_tokens or self.max_tokens, logprobs, limits, self.n or 1)
        options = self._options()
        return Call(conversation_of(self.messages, defined(options)), sampling, options=options)

    def _options(self) -> Options:
        found = super()._options() | chosen(self.tools, self.tool_choice, self.parallel_tool_calls)
        found |= formed(self.response_format, self.structured_outputs)
        found |= reasoned(self.reasoning_effort, self.include_reasoning, self.chat_template_kwargs)
        return found | ({"documents": self.documents} if self.documents else {})


class CompletionBody(_Plain):
    """`POST /v1/completions`. Token ids are refused: the guards read text."""

    endpoint: ClassVar[str] = COMPLETIONS

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]
    echo: bool | None = None
    logprobs: int | None = Field(default=None, ge=0, le=5)

    def call(self, limits: LimitSettings) -> Call:
        if self.echo and (self.stream or self.logprobs is None):
            raise BadRequest("echo takes logprobs, and no stream.", param="echo")
        text = self.prompt if isinstance(self.prompt, str) else self.prompt[0]
        most = 16 if self.max_tokens is None else self.max_tokens  # as OpenAI's
        sampling = self._sampling(most, self.logprobs, limits, self.n or 1)
        return Call(Conversation((Turn("user", text),)), sampling, raw=True, options=self._options())

    @property
    def echoes(self) -> bool:
        return bool(self.echo)


class EmbeddingsBody(Body):
    """`POST /v1/embeddings`. Token ids are refused: the guards read text."""

    endpoint: ClassVar[str] = EMBEDDINGS

    input: str | Annotated[list[str], Field(min_length=1)]
    dimensions: int | None = Field(default=None, ge=1)
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None

    def texts(self, limits: LimitSettings) -> tuple[str, ...]:
        """The texts, each a vector.

        Raises:
            BadRequest: more than the limit, or an empty one.
        """
        texts = (self.input,) if isinstance(self.input, str) else tuple(self.input)
        if len(texts) > limits.inputs:
            raise BadRequest(f"input holds {len(texts)} texts; the limit is {limits.inputs}.", param="input")
        if not all(texts):
            raise BadRequest("input holds an empty text.", param="input")
        return texts

    @property
    def options(self) -> Mapping[str, Any]:
        """How the vectors are given."""
        given = {"dimensions": self.dimensions, "encoding_format": self.encoding_format}
        return {name: value for name, value in given.items() if value is not None}
