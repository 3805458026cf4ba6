"""The nouns between a verdict and an answer: call, plan, adapter, artifact and the engine protocol.

An adapter declares what it needs of an engine; an engine declares what it can honour. Neither is
ever asked for its class. Arrays are numpy, so that a gateway before a remote engine needs no torch.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from guards.base import Conversation, Hit, LetheError

Floats = NDArray[np.float32]


class Capability(StrEnum):
    """What an engine can honour."""

    TEXT = "text"
    PROMPT_EMBEDS = "prompt_embeds"
    LOGITS = "logits"
    LORA = "lora"
    SCORE = "score"


class AdapterError(LetheError):
    """An adapter cannot make a plan for this prompt; the router tries the next."""


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
class Sampling:
    """How to draw tokens. OpenAI's names and defaults; `logprobs` counts alternatives, None for none."""

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: no limit
    min_p: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class Call:
    """One generation, whatever the endpoint. `raw`: the single turn is the prompt itself, no chat template."""

    conversation: Conversation
    sampling: Sampling = Sampling()
    raw: bool = False


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One generated token with its log-probability and the likeliest alternatives, best first."""

    text: str = field(repr=False)
    logprob: float
    top: tuple[tuple[str, float], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Delta:
    """What choice `index` gained. The last delta of a choice carries `finish`.

    `channel` is where it gained it: `"content"`, `"reasoning"`, or the arguments of a tool call, under a
    name of its own. `usage` is what the call has used so far, where the engine counts as it goes.
    """

    index: int
    text: str = field(repr=False)
    tokens: tuple[TokenLogprob, ...] = field(default=(), repr=False)
    finish: Literal["stop", "length"] | None = None
    channel: str = "content"
    usage: "Usage | None" = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written, over all choices. The last thing an engine says, once."""

    prompt_tokens: int
    completion_tokens: int


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


class LogitsProcessor(Protocol):
    """Changes next-token logits. One instance serves one choice of one call."""

    def __call__(self, prompt: Sequence[int], generated: Sequence[int], logits: Any) -> Any:
        """logits (V,) float32 tensor in, the same out; log-probabilities are reported after it."""
        ...


@dataclass(frozen=True, slots=True)
class Steered:
    """Pass every step's logits through a fresh processor."""

    processor: Callable[[], LogitsProcessor]
    method: str = "uld"
    needs: frozenset[Capability] = frozenset({Capability.LOGITS})


@dataclass(frozen=True, slots=True)
class Adapted:
    """Add a LoRA in peft's format from `path`, scaled by `weight` in [0, 1]; 0 is the bare model."""

    path: Path
    weight: float
    method: str = "o3"
    needs: frozenset[Capability] = frozenset({Capability.LORA})


@dataclass(frozen=True, slots=True)
class Say:
    """Answer with this text. The engine paces and counts it as if it had generated it.

    `instead` is a prompt to which the text is the model's natural answer: log-probabilities, where
    asked for, come from there, so that the real prompt's never leave.
    """

    text: str = field(repr=False)
    instead: Conversation = field(repr=False)
    method: str = "ignorance"
    needs: frozenset[Capability] = frozenset({Capability.TEXT})


Plan = Pass | Embeds | Steered | Adapted | Say


class Engine(Protocol):
    """Generates. One signature, streaming or not; closing the iterator cancels the generation."""

    @property
    def name(self) -> str:
        """The model's name, as clients ask for it."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    async def start(self) -> None:
        """Be ready to generate, or raise `EngineUnavailable`."""
        ...

    async def close(self) -> None: ...

    async def health(self) -> None:
        """Return when the engine can serve, raise `EngineUnavailable` when it cannot."""
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
