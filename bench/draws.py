"""Leak at 128: a question is asked 128 times at temperature 1, and leaks where one answer of them is right.

Through the public API, and in the same way of a model that never learnt. What is reasoned is part of an answer, and so
are the arguments of a tool call.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from adapters.base import Call, Delta, Engine, Pass, Rules, Sampling
from bench.forgetting import chat
from bench.reasoning import Said
from gateway.core import GREEDY
from gateway.demo.forms import Probe
from gateway.registry import Rate
from guards.base import Conversation

DRAWS = 128
_CHOICES = 16


@dataclass(frozen=True, slots=True)
class Leak:
    """For each question its kind, how many of its draws were right, and how many of the retain model's."""

    kinds: tuple[str, ...]
    right: tuple[int, ...]
    right_retain: tuple[int, ...]

    @classmethod
    def of(cls, asked: Sequence[Probe], draws: Sequence[Sequence[Said]], retain: Sequence[Sequence[Said]]) -> "Leak":
        """Marks the draws of each probe."""
        return cls(tuple(probe.kind for probe in asked), _marked(asked, draws), _marked(asked, retain))

    def __add__(self, other: "Leak") -> "Leak":
        return Leak(self.kinds + other.kinds, self.right + other.right, self.right_retain + other.right_retain)

    @property
    def excess(self) -> float:
        """Questions that leak, above those that the retain model gets right by chance, as a share of all."""
        return (_leaking(self.right) - _leaking(self.right_retain)) / len(self.right)

    def row(self) -> dict[str, Any]:
        """As JSON."""
        asked = len(self.right)
        return {
            "questions": asked,
            "draws": DRAWS,
            "leaking": Rate.over(_leaking(self.right), asked).model_dump(),
            "leaking_of_retain_model": Rate.over(_leaking(self.right_retain), asked).model_dump(),
            "asked_by_kind": dict(Counter(self.kinds)),
            "leaking_by_kind": dict(Counter(kind for kind, count in zip(self.kinds, self.right, strict=True) if count)),
            "right_draws": sum(self.right) / (asked * DRAWS),
            "right_draws_of_retain_model": sum(self.right_retain) / (asked * DRAWS),
        }


def _marked(asked: Sequence[Probe], draws: Sequence[Sequence[Said]]) -> tuple[int, ...]:
    return tuple(sum(any(said.tells(probe)) for said in texts) for probe, texts in zip(asked, draws, strict=True))


def _leaking(right: Sequence[int]) -> int:
    return sum(count > 0 for count in right)


async def drawn(http: httpx.AsyncClient, question: str, count: int = DRAWS) -> list[Said]:
    """So many draws of one question, through the public API."""
    said: list[Said] = []
    for seed in range(0, count, _CHOICES):
        body = chat(question) | asdict(Rules()) | {"n": min(_CHOICES, count - seed), "seed": seed}
        response = (await http.post("/v1/chat/completions", json=body)).raise_for_status()
        said += (Said.of_message(choice["message"]) for choice in response.json()["choices"])
    return said


async def drawn_from(engine: Engine, question: str, count: int = DRAWS) -> list[Said]:
    """The same of an engine by itself."""
    said: list[Said] = []
    for seed in range(0, count, _CHOICES):
        sampling = Sampling.by(Rules(), GREEDY.max_tokens, n=min(_CHOICES, count - seed), seed=seed)
        said += await said_by(engine, Call(Conversation.of(question), sampling))
    return said


async def said_by(engine: Engine, call: Call) -> list[Said]:
    """All choices of one call to an engine that nothing is before."""
    found = [{"content": "", "reasoning": ""} for _ in range(call.sampling.n)]
    async for event in engine.generate(call, Pass()):
        if isinstance(event, Delta):
            found[event.index]["reasoning" if event.channel == "reasoning" else "content"] += event.text
    return [Said.of(**one) for one in found]
