"""Answers to the demo world's questions, counted by kind: before, after, and of the retain model."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.demo.forms import Probe, correct
from gateway.registry import Rate


@dataclass(frozen=True, slots=True)
class Tally:
    """Probes asked, and how many were answered correctly before, after and by the retain model, by kind."""

    asked: Counter[str] = field(default_factory=Counter)
    right_before: Counter[str] = field(default_factory=Counter)
    right_after: Counter[str] = field(default_factory=Counter)
    right_retain: Counter[str] | None = None  # the retain model is asked about forgotten people alone

    @classmethod
    def of(
        cls, asked: Sequence[Probe], before: Sequence[str], after: Sequence[str], retain: Sequence[str] | None = None
    ) -> "Tally":
        """Marks the answers to each probe."""

        def right(answers: Sequence[str]) -> Counter[str]:
            return Counter(p.kind for p, answer in zip(asked, answers, strict=True) if correct(p, answer))

        return cls(
            Counter(probe.kind for probe in asked),
            right(before),
            right(after),
            None if retain is None else right(retain),
        )

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.asked + other.asked,
            self.right_before + other.right_before,
            self.right_after + other.right_after,
            None if self.right_retain is None or other.right_retain is None else self.right_retain + other.right_retain,
        )

    @property
    def before(self) -> float:
        return self.right_before.total() / self.asked.total()

    @property
    def after(self) -> float:
        return self.right_after.total() / self.asked.total()

    @property
    def retain_model(self) -> float:
        assert self.right_retain is not None, "the retain model was not asked"
        return self.right_retain.total() / self.asked.total()

    @property
    def excess(self) -> float:
        """Correct answers above the retain model's, as a share of all."""
        return self.after - self.retain_model

    def row(self) -> dict[str, Any]:
        """As JSON, all kinds together."""
        asked = self.asked.total()
        after = Rate.over(self.right_after.total(), asked).model_dump()
        found = {"asked": asked, "before": self.before, "after": after}
        return found if self.right_retain is None else found | {"retain_model": self.retain_model}

    def by_kind(self) -> list[dict[str, Any]]:
        """A row a kind, with intervals."""
        return [
            {
                "kind": kind,
                "asked": asked,
                "before": self.right_before[kind] / asked,
                "after": Rate.over(self.right_after[kind], asked).model_dump(),
            }
            | ({} if self.right_retain is None else {"retain_model": self.right_retain[kind] / asked})
            for kind, asked in self.asked.items()
        ]


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of answers that have nothing to do with who is forgotten; `same` of them did not change at all."""

    tally: Tally
    same: int

    @classmethod
    def of(cls, asked: Sequence[Probe], before: Sequence[str], after: Sequence[str]) -> "Kept":
        """Marks the answers to each probe, and compares them."""
        return cls(Tally.of(asked, before, after), sum(map(str.__eq__, before, after)))

    @property
    def unchanged(self) -> float:
        return self.same / self.tally.asked.total()

    @property
    def share(self) -> float:
        """Correct answers as a share of those before."""
        return self.tally.after / self.tally.before

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return self.tally.row() | {"unchanged": Rate.over(self.same, self.tally.asked.total()).model_dump()}
