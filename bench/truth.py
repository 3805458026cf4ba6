"""The demo world as TOFU asks of its authors: each fact with its right answer and untrue ones, scored for truth ratios.

Departure from TOFU (arXiv 2401.06121): the demo world has one wording of each answer, the taught one, so that it
is the question that is put in words of which no form was ever trained. The formulas are in `bench.metrics.truth`.
"""

import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field

from bench.metrics.likelihood import loss
from bench.metrics.truth import truth_ratio
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
    """That of each item, one after the other."""

    async def lost(item: Item, answer: str) -> float:
        return loss(await score(item.question, answer))

    return [
        truth_ratio(await lost(item, item.right), [await lost(item, wrong) for wrong in item.wrong]) for item in asked
    ]
