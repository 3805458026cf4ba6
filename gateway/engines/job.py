"""One call inside the local engine: its choices, how each takes a token, and the way back to the caller."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from adapters.base import Delta, EngineError, Rules, Sampling, Strength, TokenLogprob, Usage
from adapters.decoder import Reading
from adapters.lora import Lora
from gateway.engines.sampling import Drawer
from gateway.engines.text import Writer

Outcome = Delta | Usage | tuple[TokenLogprob, ...] | EngineError


@dataclass(frozen=True, slots=True)
class Words:
    """How tokens read: `decode` several as text, `piece` one by itself, and which `ends` an answer may have."""

    decode: Callable[[Sequence[int]], str]
    piece: Callable[[int], str]
    ends: tuple[int, ...]

    @property
    def eos(self) -> int:
        """The end of an answer that is not the model's own."""
        return self.ends[0]


@dataclass(frozen=True, slots=True, eq=False)
class Assistant:
    """What a call's logits are lowered by: the model's first `blocks` blocks wearing `lora`."""

    blocks: int
    lora: Lora
    strength: Strength


@dataclass(slots=True, eq=False)
class Job:
    """One call. `deliver` hands an outcome to the caller, from any thread.

    Without an `answer` to score it is a generation: `limit` tokens at most for every choice, the
    `forced` ones where there are any, each step's logits without what the `assistants` remember.
    """

    reading: Reading
    sampling: Sampling
    rules: Rules
    deliver: Callable[[Outcome], object]
    prompt_tokens: int
    limit: int
    forced: tuple[int, ...] | None = field(default=None, repr=False)
    assistants: tuple[Assistant, ...] = ()
    answer: tuple[int, ...] | None = field(default=None, repr=False)
    over: bool = False  # finished, failed, or the caller has gone; either thread may set it
    written: int = 0  # tokens, over all choices
    open: int = 0  # choices that still write

    def send(self, outcome: Outcome) -> None:
        """Delivers, unless the caller's event loop is gone, and the caller with it."""
        try:
            self.deliver(outcome)
        except RuntimeError:
            self.over = True

    @property
    def rows(self) -> int:
        return 1 if self.answer is not None else self.sampling.n

    def fail(self, error: EngineError) -> None:
        """Ends the call with an error, once."""
        if not self.over:
            self.over = True
            self.send(error)


class Choice:
    """One row of the batch: choice `index` of a call."""

    def __init__(self, job: Job, index: int, words: Words) -> None:
        self.job = job
        self.index = index
        self.done = False
        self.tokens: list[int] = []
        self.drawer = Drawer(job.rules, job.sampling.seed, index)
        self._words = words
        self._writer = Writer(words.decode, job.sampling.stop)

    @property
    def live(self) -> bool:
        """Whether it still writes and someone still reads."""
        return not (self.done or self.job.over)

    @property
    def forced(self) -> int | None:
        """The token that comes next whatever the model says, if there is one."""
        return None if self.job.forced is None else self.job.forced[len(self.tokens)]

    def logprob(self, logits: Tensor, token: int) -> TokenLogprob | None:
        """What the call asked to know of this token: after steering, before penalties and temperature."""
        count = self.job.sampling.logprobs
        return None if count is None else logprob(logits, token, count, self._words)

    def take(self, token: int, known: TokenLogprob | None) -> None:
        """Writes one more token, and hands on what the client may read of it."""
        job = self.job
        self.tokens.append(token)
        job.written += 1
        stopped = ended = token in self._words.ends
        text, shown = "", tuple[TokenLogprob, ...]()
        if not ended:
            text, shown, stopped = self._writer.push(token, known)
        self.done = stopped or len(self.tokens) >= job.limit
        if self.done and (ended or not stopped):
            rest, late = self._writer.flush()
            text, shown = text + rest, shown + late
        if text or shown or self.done:
            ending: Literal["stop", "length"] = "stop" if stopped else "length"
            used = Usage(job.prompt_tokens, job.written)
            job.send(Delta(self.index, text, shown, ending if self.done else None, usage=used))
        if self.done:
            job.open -= 1
            if not job.open:
                job.over = True
                job.send(Usage(job.prompt_tokens, job.written))


def logprob(logits: Tensor, token: int, count: int, words: Words) -> TokenLogprob:
    """The log-probability of a token under the logits (V), with the `count` likeliest alternatives."""
    known = logits.log_softmax(-1)
    best = torch.topk(known, min(count, len(known)))
    top = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return TokenLogprob(words.piece(token), float(known[token]), tuple((words.piece(i), p) for i, p in top))


def moments(logits: Tensor) -> tuple[float, float]:
    """Mean and variance of the log-probability of what comes next, under the logits (V)."""
    known = logits.log_softmax(-1)
    chances = known.exp()
    seen = known.masked_fill(chances == 0, 0.0)  # a token without a chance has log-probability −∞
    mean = float(chances @ seen)
    return mean, float(chances @ (seen - mean).square())
