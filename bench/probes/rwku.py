"""RWKU (arXiv 2406.10890): real people, asked about in eleven ways; their neighbours; everybody else.

A request holds the name, the one-line introduction and the `forget_mia` passages about the person, and
as texts to keep a fixed sample of one half of `retain_mia`. Probes are all three levels; controls are
both levels of neighbours, the questions about people who are not in the round, and the other half of
`retain_mia`. The first 30 people are for development; five rounds of 20 drawn from the other 70 measure.

Counted apart: neighbour questions that hold the full name of somebody in the round, in the question, in the
answer or in the cloze that it fills, which no gateway that hides the name can let pass, and those about
somebody in the round. Duplicates are asked once. The probes concern real public figures: they are for
measuring and stay where they are.
"""

import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.omniscient import Probe, Round
from guards.targets import Source

DEVELOPMENT = 30  # people in file order on whom anything may be chosen
_ROUND = 20
_RETAINED = 200  # passages to keep that are filed with a request
_PASSAGES = 150  # passages about others that are asked

BLANK = re.compile("_{2,}")

NEIGHBOURS = ("neighbours 1", "neighbours 2")
OTHERS = "other people"
PASSAGES = "passages about others"


@dataclass(frozen=True, slots=True)
class People:
    """The data, by person where they are about one. `kept` are halves of `retain_mia`: filed, and asked."""

    names: tuple[str, ...] = field(repr=False)
    introductions: dict[str, str] = field(repr=False)
    passages: dict[str, list[str]] = field(repr=False)
    asked: dict[str, list[Probe]] = field(repr=False)
    neighbours: dict[str, list[Probe]] = field(repr=False)
    kept: tuple[list[str], list[str]] = field(repr=False)

    @classmethod
    def read(cls, data_dir: Path) -> "People":
        """Raises `FileNotFoundError` when the data are not there."""
        folder = data_dir / "rwku"
        introductions = {row["subject"]: _introduction(row) for row in _lines(folder / "intro.jsonl")}
        kept = [row["text"] for row in _lines(folder / "retain_mia.jsonl")]
        random.Random(0).shuffle(kept)
        asked = [row for level in (1, 2, 3) for row in _lines(folder / f"forget_level{level}.jsonl")]
        neighbours = [row for level in (1, 2) for row in _lines(folder / f"neighbor_level{level}.jsonl")]
        return cls(
            tuple(introductions),
            introductions,
            _by_subject((row, row["text"]) for row in _lines(folder / "forget_mia.jsonl")),
            _by_subject((row, Probe(_kind(row), (row["query"],), row["answer"])) for row in asked),
            _by_subject(
                (row, Probe(f"neighbours {row['level']}", (row["query"],), row["answer"], apart=row["neighbor"]))
                for row in neighbours
            ),
            (kept[::2], kept[1::2]),
        )

    @property
    def spare(self) -> list[str]:
        """Passages about others that are neither filed nor asked."""
        return self.kept[0][2 * _RETAINED :]

    def source(self, name: str) -> Source:
        """What is filed about one person."""
        keep = [text for text in self.kept[0] if name.lower() not in text.lower()]
        return Source(
            request=name,
            scope="entity",
            subject=name,
            aliases=(name,),
            documents=(self.introductions[name], *self.passages[name]),
            retain=tuple(keep[:_RETAINED]),
        )


def development(people: People, others: int | None = None) -> list[Round]:
    """Two rounds of fifteen among the first thirty; `others` limits the questions about the rest of them."""
    names = people.names[:DEVELOPMENT]
    halves = (names[::2], names[1::2])
    return [_round(people, f"development {i}", half, names, others) for i, half in enumerate(halves)]


def measurement(people: People, rounds: int = 5, others: int | None = None) -> list[Round]:
    """Rounds of twenty of the people on whom nothing was chosen; the same for the same number."""
    names = people.names[DEVELOPMENT:]
    return [
        _round(people, f"round {seed}", random.Random(seed).sample(names, _ROUND), names, others)
        for seed in range(rounds)
    ]


def _round(people: People, name: str, chosen: Sequence[str], pool: Sequence[str], others: int | None) -> Round:
    named = re.compile("|".join(rf"(?<!\w){re.escape(one)}(?!\w)" for one in chosen), re.IGNORECASE)
    rest = [probe for one in pool if one not in chosen for probe in people.asked[one]]
    if others is not None:
        rest = random.Random(0).sample(rest, others)
    probes = [
        *(_about(probe, one) for one in chosen for probe in people.asked[one]),
        *(_beside(probe, chosen, named) for one in chosen for probe in people.neighbours[one]),
        *(_named(Probe(OTHERS, probe.turns, probe.answer), named) for probe in rest),
        *(Probe(PASSAGES, (text,), "") for text in people.kept[1][:_PASSAGES] if not named.search(text)),
    ]
    return Round("RWKU", name, tuple(people.source(one) for one in chosen), tuple(dict.fromkeys(probes)))


def _about(probe: Probe, name: str) -> Probe:
    return Probe(probe.kind, probe.turns, probe.answer, frozenset({name}))


def _beside(probe: Probe, chosen: Sequence[str], named: re.Pattern[str]) -> Probe:
    """A neighbour's question; `apart` held whom it is about."""
    if probe.apart in chosen:
        return Probe(probe.kind, probe.turns, probe.answer, apart="about somebody in the round")
    return _named(Probe(probe.kind, probe.turns, probe.answer), named)


def _named(probe: Probe, named: re.Pattern[str]) -> Probe:
    whole = BLANK.sub(probe.answer, probe.turns[0])  # a cloze whose answer completes the name
    if named.search(probe.turns[0]) or named.search(probe.answer) or named.search(whole):
        return Probe(probe.kind, probe.turns, probe.answer, apart="names somebody in the round")
    return probe


def _kind(row: dict[str, Any]) -> str:
    if row["level"] in ("1", "2"):
        return "cloze" if row["level"] == "1" else "question"
    return "cross lingual" if row["type"].startswith("cross lingual") else str(row["type"])


def _introduction(row: dict[str, Any]) -> str:
    return str(row["intro"]).removeprefix(f"Please forget {row['subject']}. ")


def _by_subject(rows: Iterable[tuple[dict[str, Any], Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row, made in rows:
        found.setdefault(row["subject"], []).append(made)
    return found


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    return map(json.loads, path.read_text("utf-8").splitlines())
