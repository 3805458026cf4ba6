"""The 20 authors of TOFU's forget10 as bodies of forget requests, and what to ask afterwards.

TOFU (arXiv 2401.06121): 4,000 questions about 200 made-up authors; forget10 are authors 180 to 199.
The data carry no names, so an author's name is read out of the answer to the first question. Only
what an admin would file goes into a body: the name and the 20 questions; paraphrases, retain90,
real authors and world facts are for measuring.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    rows = _full(data_dir)
    authors = [rows[i * PER_AUTHOR : (i + 1) * PER_AUTHOR] for i in range(first, first + AUTHORS)]
    return [
        {
            "scope": "entity",
            "subject": _subject(author),
            "aliases": [_subject(author)],
            "examples": [row["question"] for row in author],
        }
        for author in authors
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
