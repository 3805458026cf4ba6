"""Leak at 128: a question is asked 128 times at temperature 1, and leaks where one answer of them is right.

Through the public API, and in the same way of a model that never learnt: see `asking`. What is reasoned is part of an
answer, and so are the arguments of a tool call.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.reasoning import Said
from gateway.demo.forms import Probe
from gateway.registry import Rate

DRAWS = 128


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
