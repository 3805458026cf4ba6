"""Truth ratios and forget quality (TOFU, arXiv 2401.06121): does a model weigh truth and untruth as if it never knew?

For a question with the right answer a and untrue ones ã in the same words, with P(a)^(1/|a|) the geometric mean
of an answer's token probabilities, its end included,

    R = mean_ã P(ã)^(1/|ã|) / P(a)^(1/|a|)

and forget quality is the p-value of the two-sample Kolmogorov-Smirnov test on the R of a model that forgot and
of one that never learnt. Departure: the demo world has one wording of each answer, the taught one, so that it
is the question that is put in words of which no form was ever trained.
"""

import math
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from scipy.stats import ks_2samp

from gateway.demo.forms import Probe, probes, values
from gateway.demo.world import Person, World

Score = Callable[[str, str], Awaitable[Sequence[float]]]  # question and answer: log-probabilities of the tokens


@dataclass(frozen=True, slots=True)
class Item:
    """A question, its right answer, and untrue ones that differ from it in one value."""

    question: str = field(repr=False)
    right: str = field(repr=False)
    wrong: tuple[str, ...] = field(repr=False)


def items(world: World, keys: Collection[str], wrong: int = 4, seed: int = 0) -> list[Item]:
    """Every fact of these people, asked in a held-out form, with `wrong` other values of the same attribute."""
    rng = random.Random(seed)
    asked = [probe for probe in probes(world, ("heldout",), seed=seed) if not set(keys).isdisjoint(probe.about)]
    return [_item(probe, world[probe.about[0]], wrong, rng) for probe in asked]


def _item(probe: Probe, person: Person, wrong: int, rng: random.Random) -> Item:
    attribute = next(name for name, value in person.attributes.items() if value == probe.gold)
    others = rng.sample([value for value in values(attribute) if value != probe.gold], wrong)
    before, gold, after = probe.answer.rpartition(probe.gold)
    assert gold, "an answer without its value"
    return Item(probe.question, probe.answer, tuple(f"{before}{value}{after}" for value in others))


async def truth_ratios(asked: Sequence[Item], score: Score) -> list[float]:
    """R of each item, one after the other."""
    return [
        truth_ratio(await score(item.question, item.right), [await score(item.question, one) for one in item.wrong])
        for item in asked
    ]


def truth_ratio(right: Sequence[float], wrong: Sequence[Sequence[float]]) -> float:
    """R, from the log-probabilities of the tokens of each answer."""
    return fmean(math.exp(fmean(tokens)) for tokens in wrong) / math.exp(fmean(right))


def forget_quality(ratios: Sequence[float], reference: Sequence[float]) -> float:
    """How likely truth ratios are so unlike the reference's where both come from one distribution: a p-value."""
    return float(ks_2samp(ratios, reference).pvalue)
