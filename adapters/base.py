"""The nouns between a verdict and an answer: call, plan, adapter, artifact and the engine protocol.

An adapter declares what it needs of an engine; an engine declares what it can honour. Neither is
ever asked for its class. Arrays are numpy, so that a gateway before a remote engine needs no torch.
"""

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from guards.base import DEFINITION, Conversation, Hit, LetheError, Turn

Floats = NDArray[np.float32]


class Capability(StrEnum):
    """What an engine can honour."""

    TEXT = "text"
    PROMPT_EMBEDS = "prompt_embeds"
    LOGITS = "logits"
    LORA = "lora"
    SCORE = "score"
    EMBED = "embed"


class AdapterError(LetheError):
    """An adapter cannot make a plan for this prompt; the router tries the next."""


class OutOfScope(AdapterError):
    """An adapter does not serve prompts of this kind at all: nothing is amiss."""


class EngineError(LetheError):
    """The engine failed; `gateway.errors` gives it a status."""


class EngineUnavailable(EngineError):
    """The engine does not answer, or is full."""


class EngineTimeout(EngineError):
    """The engine took too long."""


class EngineRejected(EngineError):
    """The engine, or its tokenizer, refuses the prompt. `param` names the field at fault."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class Rules:
    """By what a token is drawn. These, OpenAI's defaults, draw as the model says: nothing is cut or penalised."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: no limit
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0


_AS_IT_SAYS = Rules()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw tokens, by OpenAI's names; `logprobs` counts alternatives, None for none.

    A rule that is None is the served model's own: what its `generation_config.json` says, or its server was told.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None

    @classmethod
    def by(cls, rules: Rules, max_tokens: int | None = None, **more: Any) -> "Sampling":
        """None of the rules left to the model."""
        return cls(max_tokens, **asdict(rules), **more)

    @property
    def said(self) -> Mapping[str, float]:
        """The rules that are not left to the model."""
        rules = {one.name: getattr(self, one.name) for one in fields(Rules)}
        return {name: value for name, value in rules.items() if value is not None}

    def rules(self, model: Rules = _AS_IT_SAYS) -> Rules:
        """All of them, those that are left to the model as `model` has them."""
        return replace(model, **self.said)  # type: ignore[arg-type]


class Content(NamedTuple):
    """The token slice [start, stop) of the content of turn `turn`; empty where no token is all its own."""

    turn: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model reads: `text`, and its `token_ids` (T).

    `located` are the token slices of the turns' contents, None where the template rewrote one; `spans`
    their characters [start, stop) in the text, by turn.
    """

    text: str = field(repr=False)
    token_ids: tuple[int, ...] = field(repr=False)
    located: tuple[Content, ...] | None = field(repr=False)
    spans: Mapping[int, tuple[int, int]] = field(default_factory=dict, repr=False)

    @property
    def contents(self) -> tuple[Content, ...]:
        """The token slice of every turn's content, in the order of the turns.

        Raises:
            AdapterError: they cannot be told from the template's own text.
        """
        if self.located is None:
            raise AdapterError("the chat template rewrites the contents of this conversation")
        return self.located


@dataclass(frozen=True, slots=True)
class Call:
    """One generation, whatever the endpoint. `raw`: the single turn is the prompt itself, no chat template.

    `options` are further parameters in OpenAI's and vLLM's own words, of those that the engine says it
    honours; what the model reads of them is among the turns. `dropped` are those that a touched call had, of
    which the server's refusal is still owed. `prompt` is what the engine made of the
    conversation, and `sent` the tokens of the prompt as the client sent it, where an exchange was left
    out since. `tenant` is whose call it is: nobody's cached prefix serves another's. `whole`: nobody reads
    along, and one delta a choice will do.
    """

    conversation: Conversation
    sampling: Sampling = Sampling()
    raw: bool = False
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    dropped: Mapping[str, Any] = field(default_factory=dict, repr=False)
    prompt: Prompt | None = field(default=None, repr=False)
    sent: int | None = None
    tenant: str = field(default="", repr=False)
    whole: bool = False

    @property
    def read(self) -> Conversation:
        """What the guards read: the turns, and the whole prompt where these do not account for all of it."""
        if self.prompt is None or self.prompt.located is not None:
            return self.conversation
        return Conversation((*self.conversation.turns, Turn(DEFINITION, self.prompt.text)))


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token with its log-probability, NaN where nothing stands before it, and the likeliest there, best first.

    Of an answer that is scored, `moments` are mean and variance of the log-probability over the vocabulary, each token
    as likely as it is there; None where the engine cannot tell.
    """

    text: str = field(repr=False)
    logprob: float
    top: tuple[tuple[str, float], ...] = field(default=(), repr=False)
    moments: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The beginning of a tool call: its `name`, and the `id` by which its result will be given."""

    id: str = field(repr=False)
    name: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a remote engine ends an answer, seen on one of no words: the last event's choice, and the usage's event.

    `silent`: tokens without text have events too.
    """

    choice: Mapping[str, Any] = field(repr=False)
    usage: Mapping[str, Any] = field(repr=False)
    silent: bool = True


@dataclass(frozen=True, slots=True)
class Wire:
    """An event of a remote engine: the server-sent event as it came, `raw`, and the same as JSON.

    Without `raw` it gives no more than the shape: what is said was changed, or has another source. `ending`
    is the shape of the events by which an answer ends there, for one that ends elsewhere.
    """

    raw: bytes = field(repr=False)
    event: Mapping[str, Any] = field(repr=False)
    ending: Ending | None = field(default=None, repr=False)

    def changed(self) -> "Wire":
        """The shape alone."""
        return Wire(b"", self.event, self.ending)

    def counted(self) -> "Wire | None":
        """The shape of the usage at the end."""
        return Wire(b"", self.ending.usage, self.ending) if self.ending else None


@dataclass(frozen=True, slots=True)
class Delta:
    """What choice `index` gained. The last delta of a choice carries `finish`.

    `channel` is where it gained it: `"content"`, `"reasoning"`, or `"tool 0"`, the arguments of the first
    tool call, which begins with `tool`. `opening`: the choice begins, nothing is gained yet. `usage` is
    what the call has used so far, where the engine counts as it goes. `wire` is the event that the delta
    was read from: what the client gets where nothing was changed, and its shape where something was.
    """

    index: int
    text: str = field(repr=False)
    tokens: tuple[TokenLogprob, ...] = field(default=(), repr=False)
    finish: Literal["stop", "length", "tool_calls"] | None = None
    channel: str = "content"
    tool: ToolCall | None = None
    opening: bool = False
    usage: "Usage | None" = field(default=None, compare=False)
    wire: Wire | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written, over all choices. The last thing an engine says, once."""

    prompt_tokens: int
    completion_tokens: int
    wire: Wire | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of some texts, one for each, as they leave: numbers, or base64. And the tokens that were read."""

    vectors: tuple[Any, ...] = field(repr=False)
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Pass:
    """Generate as if no gateway were there."""

    method: str = "pass"
    needs: frozenset[Capability] = frozenset({Capability.TEXT})


@dataclass(frozen=True, slots=True)
class Embeds:
    """Read these embeddings in place of the prompt's tokens.

    `token_ids` (T) are the ids of the clean prompt, `embeds` (T, d) what is read instead, and
    `contents` the token slice [start, stop) of each turn that was changed: (turn, start, stop).
    `sound` says whether an answer can be shown; where it cannot, the next adapter answers. `hopeless`
    says so of an answer that has only begun.
    """

    token_ids: tuple[int, ...] = field(repr=False)
    embeds: Floats = field(repr=False)
    contents: tuple[tuple[int, int, int], ...]
    sound: Callable[[str], bool] = field(repr=False)
    hopeless: Callable[[str], bool] = field(repr=False, default=lambda text: False)
    method: str = "eco"
    needs: frozenset[Capability] = frozenset({Capability.PROMPT_EMBEDS})


@dataclass(frozen=True, slots=True)
class Strength:
    """How far what an assistant remembers is lowered; all in nats but `alpha`.

    `alpha` is the share of its excess over uniform that is taken off a logit, `depth` how far below the best
    token that it knows nothing of a token may fall, and `flat` the excess up to which it knows nothing at all.
    An answer's first token may fall as far as `first`, where that is further, and falls twice as fast: there it
    is decided whether anything is said to the question. `tail` is how many times as steep the rest becomes there.
    """

    alpha: float
    depth: float
    flat: float
    first: float = 0.0
    tail: float = 1.0

    def __post_init__(self) -> None:
        numbers = (self.alpha, self.depth, self.flat, self.first, self.tail)
        if not (all(map(math.isfinite, numbers)) and min(self.alpha, self.depth, self.first, self.tail - 1) >= 0):
            raise ValueError("a strength is finite, alpha, depth and first are not negative, and tail is at least 1")

    def at(self, place: int) -> "Strength":
        """The strength at a token of the answer, by its place."""
        if place:
            return replace(self, first=0.0, tail=1.0)
        return replace(self, alpha=2 * self.alpha, depth=max(self.first, self.depth)) if self.first else self


@dataclass(frozen=True, slots=True)
class Assisted:
    """The assistant in `folder`: a LoRA in peft's format on the first blocks of the model, and `uld.json`."""

    folder: Path
    strength: Strength


@dataclass(frozen=True, slots=True)
class Steered:
    """Lower in every step's logits what these assistants remember. `sound` and `hopeless`: see `Embeds`."""

    assistants: tuple[Assisted, ...]
    sound: Callable[[str], bool] = field(repr=False, compare=False, default=lambda text: True)
    hopeless: Callable[[str], bool] = field(repr=False, compare=False, default=lambda text: False)
    method: str = "uld"
    needs: frozenset[Capability] = frozenset({Capability.LOGITS})

    def after(self) -> "Steered":
        """The same where an answer has begun: for what reads its beginning as part of the prompt."""
        return replace(self, assistants=tuple(replace(one, strength=one.strength.at(1)) for one in self.assistants))


@dataclass(frozen=True, slots=True)
class Scaled:
    """The LoRA in `folder`, in peft's format, its low-rank term times `weight` in [0, 1]; 0 is none.

    Raises:
        ValueError: a weight beyond these.
    """

    folder: Path
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError("the weight of a LoRA is between 0 and 1")


@dataclass(frozen=True, slots=True)
class Adapted:
    """Add the low-rank terms of these LoRAs to the model; of none, it is the bare one.

    `sound` and `hopeless`: see `Embeds`.
    """

    loras: tuple[Scaled, ...]
    sound: Callable[[str], bool] = field(repr=False, compare=False, default=lambda text: True)
    hopeless: Callable[[str], bool] = field(repr=False, compare=False, default=lambda text: False)
    method: str = "o3"
    needs: frozenset[Capability] = frozenset({Capability.LORA})


@dataclass(frozen=True, slots=True)
class Say:
    """Answer with this text. The engine paces and counts it as if it had generated it.

    `instead` is a prompt to which the text is the model's natural answer: log-probabilities, where
    asked for, come from there, so that the real prompt's never leave. `subject` is whom the text names.
    """

    text: str = field(repr=False)
    instead: Conversation = field(repr=False)
    subject: str = field(repr=False, default="")
    method: str = "ignorance"
    needs: frozenset[Capability] = frozenset({Capability.TEXT})


Unlearned = Embeds | Steered | Adapted  # the model's own words, held until they prove fit to be shown
Plan = Pass | Unlearned | Say


class Engine(Protocol):
    """Generates. One signature, streaming or not; closing the iterator cancels the generation."""

    @property
    def name(self) -> str:
        """The model's name, as clients ask for it."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    @property
    def options(self) -> frozenset[str]:
        """The `Call.options` that it honours; others are refused before they reach it."""
        ...

    async def start(self) -> None:
        """Be ready to generate, or raise `EngineUnavailable`."""
        ...

    async def close(self) -> None: ...

    async def health(self) -> None:
        """Return when the engine can serve, raise `EngineUnavailable` when it cannot."""
        ...

    async def rendered(self, call: Call) -> Call:
        """The call with its prompt as the model will read it; as it is, where only the server knows.

        Raises:
            EngineRejected: there is no such prompt, or it is too long.
        """
        ...

    async def ready(self, plan: Plan) -> None:
        """Have at hand what answers under the plan need, so that the first is as quick as the next.

        Raises:
            EngineError: they could not be given everywhere.
        """
        ...

    def lag(self, method: str) -> float:
        """Seconds by which a first token comes later under a plan of this method than under `Pass`."""
        ...

    def pieces(self, text: str) -> tuple[str, ...]:
        """A text as its deltas would be, one for each token; the last, the end of an answer, is empty."""
        ...

    def generate(self, call: Call, plan: Plan) -> AsyncIterator[Delta | Usage]:
        """Deltas of all choices as they come, then one `Usage`.

        Raises:
            EngineRejected: the prompt is too long, or the engine cannot honour the plan.
            EngineUnavailable, EngineTimeout: see there.
        """
        ...

    async def score(self, call: Call, answer: str, plan: Plan) -> Sequence[TokenLogprob]:
        """Log-probabilities of `answer` (its end-of-sequence token last), teacher-forced under the plan."""
        ...

    async def prompt_logprobs(self, call: Call) -> Sequence[TokenLogprob]:
        """Log-probabilities of the prompt's own tokens (T), as the bare model reads them; NaN for the first.

        Raises:
            EngineRejected: this engine cannot tell.
            EngineUnavailable, EngineTimeout: see there.
        """
        ...

    async def embed(self, texts: Sequence[str], options: Mapping[str, Any]) -> Embedded:
        """Vectors of texts, as the bare model gives them. `options`: OpenAI's `dimensions` and `encoding_format`.

        Raises:
            EngineRejected: a text is too long, or this model gives no vectors.
            EngineUnavailable, EngineTimeout: see there.
        """
        ...


@dataclass(frozen=True, slots=True)
class Artifact:
    """What learning made for one forget request: content-addressed, immutable.

    `digest` is the hash of manifest and files; `folder` holds the files, None when there are none.
    """

    digest: str
    method: str
    request: str
    manifest: Mapping[str, Any]
    folder: Path | None = None


class Adapter(Protocol):
    """Enforces: one unlearning method."""

    @property
    def method(self) -> str: ...

    @property
    def needs(self) -> frozenset[Capability]: ...

    async def plan(self, call: Call, hits: Sequence[Hit], artifacts: Mapping[str, Artifact]) -> Plan:
        """A plan for a touched call. `artifacts` maps the request of each hit to its artifact of this method.

        Raises:
            AdapterError: this prompt cannot be served by this method.
        """
        ...
