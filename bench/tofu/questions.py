"""What is filed of TOFU's authors, and what is asked of them and of all that must stay.

Filed is what a legal department has: the author's name and the twenty pairs of question and answer. TOFU's metrics of
the forget set are of these very questions, which the model was taught, and of these answers; so are attacks,
continuations and draws. In words that nobody filed are the paraphrased questions, asked greedily and drawn, and of the
truth ratio, behind the filed question, the paraphrased and the untrue answers. Holdout are authors whom no model was
ever taught.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from bench.probes.tofu import FIRST_FORGOTTEN, PER_AUTHOR, named_authors

SPLITS = {
    "forget01": 2,
    "forget05": 10,
    "forget10": 20,
}  # authors, the last ones of the twenty; each holds the one before
_TWENTY = 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question:
    """One question with its right answer.

    Attributes:
        paraphrase: of the question; the question itself where there is none.
        restated: the answer in other words; the answer itself where there is none.
        wrong: untrue answers in the words of `restated`; none of the holdout.
        author: whose question, for intervals over authors.
    """

    text: str = field(repr=False)
    answer: str = field(repr=False)
    paraphrase: str = field(repr=False)
    restated: str = field(repr=False)
    wrong: tuple[str, ...] = field(repr=False)
    author: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Kept:
    """What must stay, by set: `retain`, `real_authors`, `world_facts`; and `holdout`, which nobody ever knew."""

    retain: tuple[Question, ...] = field(repr=False)
    real_authors: tuple[Question, ...] = field(repr=False)
    world_facts: tuple[Question, ...] = field(repr=False)
    holdout: tuple[Question, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Author:
    """Somebody to forget: the body of the request, and the questions in TOFU's order."""

    body: dict[str, Any] = field(repr=False)
    questions: tuple[Question, ...] = field(repr=False)


def authors(data_dir: Path) -> list[Author]:
    """The twenty of forget10 in TOFU's order: those of forget01 are the last two.

    Args:
        data_dir: the folder that holds `tofu/`.

    Raises:
        FileNotFoundError: the data are not there.
    """
    return [
        Author(
            {
                "scope": "entity",
                "subject": name,
                "aliases": [name],
                "facts": [{"question": row["question"], "answer": row["answer"]} for row in rows],
            },
            tuple(_question(row, name) for row in rows),
        )
        for name, rows in named_authors(data_dir, FIRST_FORGOTTEN)
    ]


def of_split(found: Sequence[Author], split: str) -> Sequence[Author]:
    """Those of a split, of the twenty."""
    return found[_TWENTY - SPLITS[split] :]


def kept(data_dir: Path, most: int | None, seed: int = 0) -> Kept:
    """At most so many of each set, drawn once; None for all.

    Raises:
        FileNotFoundError: the data are not there.
    """

    def drawn(name: str, per_author: int) -> tuple[Question, ...]:
        rows = _rows(data_dir / "tofu" / f"{name}.json")
        found = [_question(row, f"{name} {i // per_author}") for i, row in enumerate(rows)]
        return tuple(some(found, most, seed))

    return Kept(
        drawn("retain_perturbed", PER_AUTHOR),
        drawn("real_authors_perturbed", 1),
        drawn("world_facts_perturbed", 1),
        drawn("holdout10", PER_AUTHOR),
    )


def some(found: Sequence[T], most: int | None, seed: int) -> list[T]:
    """A draw in the old order."""
    if most is None or len(found) <= most:
        return list(found)
    return [found[i] for i in sorted(random.Random(seed).sample(range(len(found)), most))]


def _question(row: dict[str, Any], author: str) -> Question:
    return Question(
        row["question"],
        row["answer"],
        row.get("paraphrased_question") or row["question"],
        row.get("paraphrased_answer") or row["answer"],
        tuple(row.get("perturbed_answer") or ()),
        author,
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    """An array or JSON lines."""
    text = path.read_text("utf-8")
    rows: list[dict[str, Any]] = json.loads(text) if text.startswith("[") else [*map(json.loads, text.splitlines())]
    return rows
