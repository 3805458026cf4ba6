"""TOFU's authors as forget requests, twenty at a time, and what to ask afterwards.

TOFU (arXiv 2401.06121): 4,000 questions about 200 made-up authors; forget10 are authors 180 to 199.
The data carry no names, so an author's name is read out of the answer to the first question. Only
what an admin would file goes into a body: the name and the 20 questions; paraphrases, retain90,
real authors and world facts are for measuring.

Only authors 0 to 19 and forget10 have paraphrases. Of any other twenty, every second question is filed
and the others are asked (`unseen`).
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.omniscient import Probe, Round
from guards.targets import Source

AUTHORS = 20
PER_AUTHOR = 20
FIRST_FORGOTTEN = 180

_NAME = re.compile(r"[A-Z][\w’'-]*[\w](?: [A-Z][\w’-]*\w)+")


@dataclass(frozen=True, slots=True)
class TofuQuestions:
    """What to ask once the requests stand.

    Attributes:
        paraphrases: the 400 official paraphrases of the forgotten questions, in order.
        nameless: indices of paraphrases that do not hold the author's name.
        retain: the 3,600 questions about all other authors; for forget10 that is retain90.
        real_authors, world_facts: 100 and 117 questions about the real world.
    """

    paraphrases: tuple[str, ...] = field(repr=False)
    nameless: frozenset[int]
    retain: tuple[str, ...] = field(repr=False)
    real_authors: tuple[str, ...] = field(repr=False)
    world_facts: tuple[str, ...] = field(repr=False)


def tofu_entity_requests(data_dir: Path, first: int = FIRST_FORGOTTEN) -> list[dict[str, Any]]:
    """Twenty bodies for `POST /admin/v1/forget-requests`, one an author.

    Args:
        data_dir: the folder that holds `tofu/`.
        first: the first of the twenty authors; 0 for authors with paraphrases that are not in forget10.

    Raises:
        FileNotFoundError: the data are not there.
    """
    return [
        {
            "scope": "entity",
            "subject": _subject(author),
            "aliases": [_subject(author)],
            "examples": [row["question"] for row in author],
        }
        for author in _authors(data_dir, first)
    ]


def tofu_questions(data_dir: Path, first: int = FIRST_FORGOTTEN) -> TofuQuestions:
    """The official questions for measuring. Arguments and errors as of `tofu_entity_requests`."""
    names = [str(body["subject"]).lower() for body in tofu_entity_requests(data_dir, first)]
    rows = _full(data_dir)
    own = range(first * PER_AUTHOR, (first + AUTHORS) * PER_AUTHOR)
    paraphrases = tuple(rows[i]["paraphrased_question"] for i in own)
    return TofuQuestions(
        paraphrases,
        frozenset(i for i, text in enumerate(paraphrases) if names[i // PER_AUTHOR] not in text.lower()),
        tuple(row["question"] for i, row in enumerate(rows) if i not in own),
        tuple(row["question"] for row in _rows(data_dir, "real_authors_perturbed.json")),
        tuple(row["question"] for row in _rows(data_dir, "world_facts_perturbed.json")),
    )


def paraphrased(data_dir: Path, first: int = FIRST_FORGOTTEN) -> Round:
    """Twenty entity requests of all their questions; the paraphrases are asked, everybody else is a control.

    Raises:
        ValueError: there are no paraphrases of these authors.
    """
    authors = _authors(data_dir, first)
    if not all("paraphrased_question" in row for author in authors for row in author):
        raise ValueError(f"first: there are no paraphrases of the twenty authors from {first}")
    named = [_subject(author) for author in authors]
    probes = [
        Probe(
            "paraphrase" if name.lower() in row["paraphrased_question"].lower() else "paraphrase, nobody named",
            (row["paraphrased_question"],),
            row["answer"],
            frozenset({str(first + i)}),
        )
        for i, (author, name) in enumerate(zip(authors, named, strict=True))
        for row in author
    ]
    sources = [_entity(first + i, author) for i, author in enumerate(authors)]
    return Round(f"TOFU {first}", "entities", tuple(sources), (*probes, *_controls(data_dir, first)))


def unseen(data_dir: Path, first: int) -> Round:
    """Twenty entity requests of every second question; the others are asked."""
    authors = _authors(data_dir, first)
    probes = [
        Probe("unseen question", (row["question"],), row["answer"], frozenset({str(first + i)}))
        for i, author in enumerate(authors)
        for row in author[1::2]
    ]
    sources = [_entity(first + i, author[::2], _subject(author)) for i, author in enumerate(authors)]
    return Round(f"TOFU {first}, unseen", "entities", tuple(sources), (*probes, *_controls(data_dir, first)))


def facts(data_dir: Path, first: int = FIRST_FORGOTTEN) -> Round:
    """Twenty requests of scope `facts`: every second question of an author, the others must stay answered."""
    authors = _authors(data_dir, first)
    sources = [
        Source(
            str(first + i),
            "facts",
            _subject(author),
            facts=tuple((row["question"], row["answer"]) for row in author[::2]),
        )
        for i, author in enumerate(authors)
    ]
    asked = [
        Probe("listed fact, paraphrased", (row["paraphrased_question"],), row["answer"], frozenset({str(first + i)}))
        for i, author in enumerate(authors)
        for row in author[::2]
    ]
    same = [
        Probe("other facts about the author", (row["paraphrased_question"],), row["answer"])
        for author in authors
        for row in author[1::2]
    ]
    return Round(f"TOFU {first}, facts", "facts", tuple(sources), (*asked, *same, *_controls(data_dir, first)))


def named_authors(data_dir: Path, first: int) -> list[tuple[str, list[dict[str, str]]]]:
    """Twenty authors, each with all that the data have of the author's questions."""
    return [(_subject(author), author) for author in _authors(data_dir, first)]


def _controls(data_dir: Path, first: int) -> list[Probe]:
    own = range(first * PER_AUTHOR, (first + AUTHORS) * PER_AUTHOR)
    groups = {
        "other authors": [row for i, row in enumerate(_full(data_dir)) if i not in own],
        "real authors": _rows(data_dir, "real_authors_perturbed.json"),
        "world facts": _rows(data_dir, "world_facts_perturbed.json"),
    }
    return [Probe(kind, (row["question"],), row["answer"]) for kind, rows in groups.items() for row in rows]


def _entity(number: int, author: list[dict[str, str]], name: str | None = None) -> Source:
    name = name or _subject(author)
    return Source(str(number), "entity", name, (name,), tuple(row["question"] for row in author))


def _authors(data_dir: Path, first: int) -> list[list[dict[str, str]]]:
    rows = _full(data_dir)
    return [rows[i * PER_AUTHOR : (i + 1) * PER_AUTHOR] for i in range(first, first + AUTHORS)]


def _subject(author: list[dict[str, str]]) -> str:
    """The name in the first answer that most of the author's questions repeat."""
    names: list[str] = [words.removesuffix("'s") for words in _NAME.findall(author[0]["answer"])]
    return max(names, key=lambda name: (sum(name in row["question"] for row in author), len(name)))


def _full(data_dir: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (data_dir / "tofu" / "full.jsonl").read_text("utf-8").splitlines()]


def _rows(data_dir: Path, name: str) -> list[dict[str, str]]:
    """An array or JSON lines."""
    text = (data_dir / "tofu" / name).read_text("utf-8")
    rows: list[dict[str, str]] = json.loads(text) if text.startswith("[") else [*map(json.loads, text.splitlines())]
    return rows
