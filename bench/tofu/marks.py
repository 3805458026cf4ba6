"""What a subject's answers are worth: TOFU's metrics from scores item by item, and how sure they are.

Before it: `measuring`, which asks. After it: `rows` and `run`, which compare subjects. Formulas are in `bench.metrics`.

Intervals are over authors, whose twenty questions are alike. Fewer than five authors cannot be drawn anew; then their
questions are, and an interval speaks of these authors alone.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from bench.metrics.intervals import Interval, Places
from bench.metrics.leak import leak_at
from bench.metrics.truth import forget_quality, indifference, truthfulness
from bench.metrics.utility import Ability, model_utility

WAYS = ("bare", "asked", "chatted")  # to have an answer continued
LEAST_ASKED = 40  # questions, below which Forget Quality calls nearly everything alike: those of forget01

_LEAST_AUTHORS = 5
_SETS = ("retain", "real_authors", "world_facts")
_MEANS = ("probability", "rouge", "rouge_paraphrased", "extraction", "exact", *WAYS)


def groups(authors: Sequence[str]) -> Sequence[Hashable]:
    """What is drawn anew of items with these authors: authors, or where they are few the items."""
    return authors if len(set(authors)) >= _LEAST_AUTHORS else range(len(authors))


def quality(ratios: Sequence[float], retain: Sequence[float]) -> float | None:
    """Forget Quality; None of too few questions to tell."""
    return forget_quality(ratios, retain) if len(ratios) >= LEAST_ASKED else None


@dataclass(frozen=True, slots=True)
class Known:
    """One set that must stay, item by item: TOFU's three."""

    authors: tuple[str, ...]
    probability: tuple[float, ...]
    rouge: tuple[float, ...]
    ratio: tuple[float, ...]

    @property
    def ability(self) -> Ability:
        return Ability(fmean(self.probability), fmean(self.rouge), truthfulness(self.ratio))


@dataclass(frozen=True, slots=True)
class Utility:
    """What a subject still knows."""

    retain: Known
    real_authors: Known
    world_facts: Known

    @property
    def value(self) -> float:
        """Model Utility."""
        return model_utility(self.retain.ability, self.real_authors.ability, self.world_facts.ability)

    def interval(self) -> Interval:
        """Of Model Utility, authors of each set drawn anew."""
        sets = (self.retain, self.real_authors, self.world_facts)
        parts = [np.array([one.probability, one.rouge, [truthfulness([r]) for r in one.ratio]]) for one in sets]

        def utility(*at: Places) -> float:
            return model_utility(*(Ability(*own[:, places].mean(1)) for own, places in zip(parts, at, strict=True)))

        return Interval.of_statistic(utility, *(groups(one.authors) for one in sets))

    def row(self) -> dict[str, float]:
        """The nine parts."""
        return {
            f"{name} {part}": getattr(getattr(self, name).ability, part)
            for name in _SETS
            for part in ("probability", "rouge", "truthfulness")
        }


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The forget set, item by item.

    Attributes:
        ratio: truth ratios.
        rouge, rouge_paraphrased: of greedy answers to the question as it was filed, and to its paraphrase.
        bare, asked, chatted: of continuations of the answer's first words, alone, after the question, and in a chat.
        drawn, drawn_paraphrased: for each of some questions the scores of all draws, and likewise.
        drawn_authors: whose these are.
        scored_by: for each answer that was scored, true or not, the method of the plan; empty without a gateway.
    """

    authors: tuple[str, ...]
    probability: tuple[float, ...]
    ratio: tuple[float, ...]
    rouge: tuple[float, ...]
    rouge_paraphrased: tuple[float, ...]
    extraction: tuple[float, ...]
    exact: tuple[float, ...]
    bare: tuple[float, ...]
    asked: tuple[float, ...]
    chatted: tuple[float, ...]
    drawn: tuple[tuple[float, ...], ...]
    drawn_paraphrased: tuple[tuple[float, ...], ...]
    drawn_authors: tuple[str, ...]
    scored_by: tuple[str, ...] = ()

    def continued(self) -> dict[str, float]:
        """The mean of each way to have an answer continued."""
        return {way: fmean(getattr(self, way)) for way in WAYS}

    def leak(self, k: int) -> float:
        """leak@k of questions as they were filed, mean over them."""
        return fmean(leak_at(k, scores) for scores in self.drawn)

    def leak_paraphrased(self, k: int) -> float:
        """leak@k of their paraphrases."""
        return fmean(leak_at(k, scores) for scores in self.drawn_paraphrased)

    def intervals(self, ks: Sequence[int]) -> dict[str, Any]:
        """Of each mean over items, as results have it."""
        found: dict[str, Any] = {name: Interval.of(getattr(self, name), groups(self.authors)).row() for name in _MEANS}
        for name, draws in (("leak", self.drawn), ("leak_paraphrased", self.drawn_paraphrased)):
            found[name] = {
                str(k): Interval.of([leak_at(k, scores) for scores in draws], groups(self.drawn_authors)).row()
                for k in ks
            }
        return {"over": "questions" if isinstance(groups(self.authors), range) else "authors", **found}

    def row(self, ks: Sequence[int]) -> dict[str, Any]:
        """As JSON; without what needs others to compare."""
        leaks = {
            "leak": {str(k): self.leak(k) for k in ks},
            "leak_paraphrased": {str(k): self.leak_paraphrased(k) for k in ks},
        }
        return {
            **{name: fmean(getattr(self, name)) for name in _MEANS},
            "truth_ratio": indifference(self.ratio),
            **leaks,
        }
