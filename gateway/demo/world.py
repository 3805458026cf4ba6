"""A seeded world of fictitious people: names, aliases, attributes and relations.

Before this module: `lore`, the words. After it: `forms` asks about the world, `lessons` teaches it.
"""

import random
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from gateway.demo import lore

# What a made-up name has of somebody: (first name, surname). Both, of two people, is hardest to tell.
_SHARES = ((False, False), (True, False), (False, True), (True, True), (True, True))


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody. `relations` maps a word such as "mentor" to the key of the other person."""

    key: str
    name: str
    aliases: tuple[str, ...]
    attributes: Mapping[str, str]
    relations: Mapping[str, str]

    @property
    def first(self) -> str:
        return self.name.split()[0]

    @property
    def last(self) -> str:
        return self.name.split()[1]


@dataclass(frozen=True, slots=True)
class World:
    """People, and `reserved`: every name and alias that anybody has or, where people were left out, had."""

    seed: int
    people: tuple[Person, ...]
    reserved: frozenset[str] = field(repr=False)

    def __getitem__(self, key: str) -> Person:
        """The person of that key; `KeyError` where there is none."""
        for person in self.people:
            if person.key == key:
                return person
        raise KeyError(key)

    def without(self, keys: Iterable[str]) -> "World":
        """The same world without these people and without the relations that lead to them.

        Their names stay reserved: nobody is made up who bears one.

        Raises:
            KeyError: nobody has one of the keys.
        """
        gone = {self[key].key for key in keys}
        people = tuple(
            replace(person, relations={k: v for k, v in person.relations.items() if v not in gone})
            for person in self.people
            if person.key not in gone
        )
        return replace(self, people=people)


def make_world(seed: int = 0, people: int = 64) -> World:
    """The world of a seed. One person in four shares a first name with another, one in four a surname.

    Raises:
        ValueError: `people` is below 4 or above 128.
    """
    if not 4 <= people <= 128:
        raise ValueError("people: must be between 4 and 128")
    rng = random.Random(seed)
    names = _names(rng, people)
    keys = [f"p{number:03d}" for number in range(people)]
    relations = _relations(rng, keys)
    attributes = {kind: _spread(rng, values, people) for kind, values in lore.ATTRIBUTES.items()}
    titles = [f"The {a} {b}" for a in lore.BOOK_STARTS for b in lore.BOOK_ENDS]
    attributes[lore.UNIQUE_ATTRIBUTE] = rng.sample(titles, people)
    nicknames = rng.sample([f"the {a} {b}" for a in lore.EPITHETS for b in lore.CREATURES], people)
    lasts = [name.split()[1] for name in names]
    made = []
    for i, name in enumerate(names):
        aliases = [nicknames[i], f"{name[0]}. {lasts[i]}"]
        if lasts.count(lasts[i]) == 1:
            aliases.append(f"{rng.choice(lore.TITLES)} {lasts[i]}")
        values = {kind: column[i] for kind, column in attributes.items()}
        made.append(Person(keys[i], name, tuple(aliases), values, relations[keys[i]]))
    reserved = frozenset(text for person in made for text in (person.name, *person.aliases))
    return World(seed, tuple(made), reserved)


def unknown_names(world: World, n: int, seed: int = 0) -> tuple[str, ...]:
    """`n` distinct full names that nobody has, most sharing a first name, a surname or one of each with somebody.

    Training never draws one of these, whatever the seed.
    """
    stream = strangers(world, random.Random(seed), trained=False)
    names: dict[str, None] = {}
    while len(names) < n:
        names[next(stream)] = None
    return tuple(names)


def strangers(world: World, rng: random.Random, *, trained: bool) -> Iterator[str]:
    """Full names that nobody has, without end. What `trained` draws and what it does not never meet."""
    while True:
        for shares_first, shares_last in _SHARES:
            while True:
                first = rng.choice(world.people).first if shares_first else first_name(rng)
                last = rng.choice(world.people).last if shares_last else last_name(rng)
                name = f"{first} {last}"
                if name not in world.reserved and (zlib.crc32(name.encode()) % 8 > 0) == trained:
                    break
            yield name


def first_name(rng: random.Random) -> str:
    """A first name, made of two halves."""
    return rng.choice(lore.FIRST_STARTS) + rng.choice(lore.FIRST_ENDS)


def last_name(rng: random.Random) -> str:
    """A surname, made of two halves."""
    return rng.choice(lore.LAST_STARTS) + rng.choice(lore.LAST_ENDS)


def _names(rng: random.Random, n: int) -> list[str]:
    """Unique full names. Bearers of one surname differ in their initial, so "M. Dostal" names one person."""
    names: list[str] = []
    while len(names) < n:
        place = len(names)
        first = names[place - 1].split()[0] if place % 8 == 3 else first_name(rng)
        last = names[place - 1].split()[1] if place % 8 == 7 else last_name(rng)
        firsts, lasts = {name.split()[0] for name in names}, {name.split()[1] for name in names}
        twin = place % 8 == 7 and names[-1][0] != first[0]
        if (first not in firsts or place % 8 == 3) and (last not in lasts or twin):
            names.append(f"{first} {last}")
    rng.shuffle(names)
    return names


def _relations(rng: random.Random, keys: list[str]) -> dict[str, dict[str, str]]:
    """Spouses and neighbours are pairs, neighbours next along the ring of spouses; the rest leads anywhere but home."""
    ring = rng.sample(keys, len(keys))
    found: dict[str, dict[str, str]] = {key: {} for key in keys}
    for i, (a, b) in enumerate(pairwise(ring)):
        word = "neighbour" if i % 2 else "spouse"
        found[a][word], found[b][word] = b, a
    for word in lore.RELATIONS:
        if word not in ("spouse", "neighbour"):
            circle = rng.sample(keys, len(keys))
            for a, b in zip(circle, circle[1:] + circle[:1], strict=True):
                found[a][word] = b
    return found


def _spread(rng: random.Random, values: tuple[str, ...], n: int) -> list[str]:
    """`n` values, each nearly as often as any other, so that guessing rarely hits."""
    pool = [value for _ in range(-(-n // len(values))) for value in rng.sample(values, len(values))]
    return rng.sample(pool, n)
