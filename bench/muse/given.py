"""MUSE's knowledge questions (arXiv 2407.06460), News and Books, for a given model: before and after they are filed.

As there: a bare text of ten questions with their answers and the one that is asked, continued by at most 32 tokens;
ROUGE-L F1 with the answer. Of the corpora only these questions are at hand, and no model that never read them. So
the forget set is filed as facts, the very questions that are asked; what a retain model would say is not known.

Before it: `asking`. After it: `run`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.counted import between
from bench.metrics.intervals import Interval
from bench.metrics.rouge import f1
from bench.muse.asking import Served

CORPORA = ("news", "books")
PARTS = {"forget": "forget_qa", "retain": "retain2_qa"}

_TOKENS = 32
_STOP = ("\n\n", "\nQuestion", "Question:")


@dataclass(frozen=True, slots=True)
class Question:
    """One question, its answer, and the text that asks it."""

    question: str = field(repr=False)
    answer: str = field(repr=False)
    prompt: str = field(repr=False)


def questions(data_dir: Path, corpus: str, part: str) -> list[Question]:
    """Of one part of a corpus.

    Raises:
        FileNotFoundError: MUSE is not there.
    """
    name = f"{corpus}_{PARTS[part]}"
    shown, asked = (json.loads((data_dir / "muse" / f"{one}.json").read_text("utf-8")) for one in (f"{name}_icl", name))
    before = "".join(f"Question: {one['question']}\nAnswer: {one['answer']}\n\n" for one in shown)
    return [Question(one["question"], one["answer"], f"{before}Question: {one['question']}\nAnswer:") for one in asked]


async def known(
    one: Served, data_dir: Path, corpus: str, most: int | None, method: str = "auto"
) -> list[dict[str, Any]]:
    """A row for each part of a corpus: ROUGE-L F1 before the forget part is filed, and after.

    Args:
        one: a gateway that forgets nobody yet.
        most: questions of each part, the first; None for all of them.

    Raises:
        FileNotFoundError: MUSE is not there.
    """
    asked = {part: questions(data_dir, corpus, part)[:most] for part in PARTS}
    before = {part: await _rouge(one, own) for part, own in asked.items()}
    facts = [{"question": fact.question, "answer": fact.answer} for fact in asked["forget"]]
    enforced = await one.forget([{"scope": "facts", "facts": facts, "method": method}])
    after, made = dict[str, list[float]](), dict[str, dict[str, int]]()
    for part, own in asked.items():
        counted = await one.answered()
        after[part] = await _rouge(one, own)
        made[part] = between(counted, await one.answered())
    return [
        {
            "corpus": corpus,
            "set": part,
            "asked": len(own),
            "enforced_by": dict(enforced),
            "answered_by": made[part],
            "before": _interval(before[part]),
            "after": _interval(after[part]),
        }
        for part, own in asked.items()
    ]


async def _rouge(one: Served, asked: Sequence[Question]) -> list[float]:
    texts = await one.continued([question.prompt for question in asked], _TOKENS, _STOP)
    return [f1(question.answer, text) for question, text in zip(asked, texts, strict=True)]


def _interval(values: Sequence[float]) -> dict[str, float]:
    one = Interval.of(values)
    return {"value": round(one.mean, 4), "low": round(one.low, 4), "high": round(one.high, 4)}
