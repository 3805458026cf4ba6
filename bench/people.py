"""People of the demo world who are forgotten together, and the model that never heard of them."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from rich.progress import Progress

from gateway.demo.forms import Kind
from gateway.demo.train import DEMO, ensure_model, retain_recipe
from gateway.demo.world import Person, World
from gateway.settings import Settings

KINDS: tuple[Kind, ...] = ("trained", "heldout", "alias", "cloze", "choice", "relation", "two_hop", "reverse")
UNSEEN = (2, 3)  # sets that nothing was developed on
MEASURED = (*UNSEEN, 1)  # and one after a look at which ULD's depth was chosen
_SET = 5


def seen(world: World) -> set[str]:
    """The keys of those on whom ECO's margin was chosen (bench/LOG.md)."""
    return {person.key for seed in (0, 1) for person in random.Random(seed).sample(world.people, _SET)}


def sets_of(world: World, count: int) -> list[list[Person]]:
    """Disjoint sets of five, none of them `seen`; each is the same however many are wanted."""
    known = seen(world)
    rest = [person for person in world.people if person.key not in known]
    # all at once: a sample of fewer need not begin a sample of more
    drawn = random.Random(0).sample(rest, len(rest) // _SET * _SET)
    return [drawn[i * _SET : (i + 1) * _SET] for i in range(count)]


def fresh_sets(world: World, count: int | None = None) -> dict[int, list[Person]]:
    """So many of the sets to measure, by number, unseen ones first; None: all. On the first of all, 0, methods are
    developed."""
    every = sets_of(world, 1 + len(MEASURED))
    return {number: every[number] for number in MEASURED[:count]}


class InSets(Protocol):
    """How much a benchmark of several sets measures: a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def sets(self) -> int: ...


Size = TypeVar("Size", bound=InSets)


def in_part(size: Size, seeds: int | None) -> Size:
    """The same of so many sets at most; None: of all."""
    return replace(size, sets=min(size.sets, seeds or size.sets))


def body_of(person: Person) -> dict[str, Any]:
    """The forget request for a person, as an admin would file it."""
    return {"scope": "entity", "subject": person.name, "aliases": list(person.aliases), "method": "eco"}


async def retain_model(settings: Settings, keys: set[str], bar: Progress) -> Path:
    """The folder of the model that never heard of these people; trained first where there is none."""
    task = bar.add_task("retain model", total=1.0)
    return await asyncio.to_thread(
        ensure_model,
        settings.models,
        retain_recipe(DEMO, keys),
        lambda share, doing: bar.update(task, completed=share),
    )
