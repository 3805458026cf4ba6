"""`python -m bench.facts_prior`: the weights by which a listed fact is told from others about the same subject.

Two logistic regressions (`guards.relations`), of questions and of answers, over TOFU's authors 0 to 19,
who are for choosing: some of an author's facts are listed, and must be found by their official paraphrases,
with the answer as it was listed and paraphrased; the author's other facts and other authors' must not.
Which row a text belongs to is known for a listed fact, and for the rest the worst row counts: so both
are learned in turns. The thresholds are chosen on authors that the regressions did not see. What is
kept are numbers: guards/relations.json.
"""

import argparse
import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from bench.probes import tofu
from bench.remembering import Remembering
from gateway.settings import load
from guards.contrast import contrasts
from guards.conversation import sentences
from guards.encoder import Encoder, Floats, open_encoder
from guards.learning import LEARN, build_targets
from guards.reading import Text
from guards.relations import FEATURES
from guards.targets import Background, Source, Targets

LEAK = 0.02  # of listed facts answered as they were listed, by authors that were not seen
KEPT_LOST = 0.0075  # of an author's other questions, before the answer
OTHERS_LOST = 0.001  # of questions about strangers
STRANGERS = 60  # questions of other authors, for each set of facts
_TURNS = 5
_WORST = 2  # rows of a text that must stay
_FOLDS = 5
_REGULAR = 1.0

_PRIOR = Path(__file__).parent.parent / "guards" / "relations.json"


@dataclass(frozen=True, eq=False)
class _Case:
    """One text against one request. `rows` are those that it belongs to; none where it must stay.

    `asked` (p, f) are the features of the question, `told` (t, p, f) of the question with each sentence
    of the answer; `answered` (p,) says which rows hold an answer.
    """

    author: int
    kind: str
    asked: Floats = field(repr=False)
    told: Floats = field(repr=False)
    answered: Floats = field(repr=False)
    rows: tuple[int, ...]


async def _cases(data_dir: Path, encoder: Encoder, background: Background) -> list[_Case]:
    authors = tofu.named_authors(data_dir, 0)
    found = []
    for number, (name, author) in enumerate(authors):
        chooser = random.Random(number)
        several = chooser.sample(range(len(author)), 5)
        others = [row for i, (_, other) in enumerate(authors) if i != number for row in other]
        for listing in ([*range(0, 20, 2)], [*range(1, 20, 2)], several, several[:1]):
            facts = tuple((author[i]["question"], author[i]["answer"]) for i in listing)
            targets = await build_targets(Source("", "facts", name, facts=facts), encoder, background, LEARN)
            for i, row in enumerate(author):
                place = (listing.index(i),) if i in listing else ()
                for answer in ("answer", "paraphrased_answer"):
                    kind = f"{'listed' if place else 'kept'}, {answer}"
                    found.append(
                        await _case(number, kind, place, (row["paraphrased_question"], row[answer]), targets, encoder)
                    )
            asked = [(row["question"], row["answer"]) for row in chooser.sample(others, STRANGERS)]
            asked += [(other, "") for i in listing for other in contrasts(author[i]["paraphrased_question"], [name], 2)]
            found += [await _case(number, "strangers", (), probe, targets, encoder) for probe in asked]
    return found


async def _case(
    author: int, kind: str, place: tuple[int, ...], probe: tuple[str, str], targets: Targets, encoder: Encoder
) -> _Case:
    question, answer = probe
    texts = [Text(text) for text in (question, *(f"{question} {one}" for one in sentences(answer)))]
    features = targets.relating(texts, await encoder.encode(texts))
    if targets.relations is None:
        raise ValueError("no facts were listed")
    answered = targets.relations.answered
    facts = len(answered) // 2
    rows = tuple(row for i in place for row in (i, facts + i))
    return _Case(author, kind, features[0], features[1:], answered, rows)


@dataclass(frozen=True, eq=False)
class _Weights:
    """Weights and bias of one head."""

    weights: Floats = field(repr=False)
    bias: float

    def of(self, features: Floats) -> Floats:
        return np.asarray(features @ self.weights + self.bias)


def _fit(cases: Sequence[_Case], answers: bool) -> _Weights:
    """The regression of one kind of rows; it and the rows that count are found in turns."""
    found = _Weights(np.array([1, 1, 1, 1, 1, 1], np.float64), 0.0)
    for _ in range(_TURNS):
        own, other = [], []
        for case in cases:
            kind = case.answered == answers
            if case.rows:
                rows = [row for row in case.rows if case.answered[row] == answers]
                texts = case.told if answers else case.asked[None]
                some = texts[:, rows].reshape(-1, len(FEATURES))
                own += [some[np.argmax(found.of(some))]] if len(some) else []
            else:
                some = np.concatenate([case.asked[None], case.told])[:, kind].reshape(-1, len(FEATURES))
                other += [*some[np.argsort(-found.of(some))[:_WORST]]]
        x, y = np.array([*own, *other]), np.array([1] * len(own) + [0] * len(other))
        scaler = StandardScaler().fit(x)
        model = LogisticRegression(C=_REGULAR, class_weight="balanced", max_iter=2000).fit(scaler.transform(x), y)
        weights = model.coef_[0] / scaler.scale_
        found = _Weights(weights, float(model.intercept_[0] - weights @ scaler.mean_))
    return found


def _judged(case: _Case, heads: Sequence[_Weights]) -> tuple[float, float]:
    """The highest logits of the question, and of all texts, by rows of questions and by rows of answers."""
    every = np.concatenate([case.asked[None], case.told])
    by = [head.of(every[:, case.answered == i]).max(initial=-99.0) for i, head in enumerate(heads)]
    return by[0], by[1]


def _unseen(cases: Sequence[_Case]) -> Floats:
    """(n, 2), by regressions that did not see the author."""
    found = np.zeros((len(cases), 2), np.float32)
    for fold in range(_FOLDS):
        heads = [_fit([case for case in cases if case.author % _FOLDS != fold], answers) for answers in (False, True)]
        for i, case in enumerate(cases):
            if case.author % _FOLDS == fold:
                found[i] = _judged(case, heads)
    return found


def _thresholds(logits: Floats, kinds: Sequence[str]) -> tuple[float, float]:
    """Of questions, what may be lost before the answer; then of answers, what may leak: slots find some of that."""
    exact, kept, others = (
        np.array([kind.startswith(name) for kind in kinds]) for name in ("listed, answer", "kept", "strangers")
    )
    asked = max(
        float(np.quantile(logits[kept, 0], 1 - KEPT_LOST)), float(np.quantile(logits[others, 0], 1 - OTHERS_LOST))
    )
    late = np.where(logits[exact, 0] >= asked, np.inf, logits[exact, 1])
    return asked, float(np.quantile(late, LEAK, method="lower"))


async def _main(console: Console) -> None:
    settings = load()
    encoder = await open_encoder(settings.guard.encoder, 2)
    try:
        remembering = Remembering(encoder, settings.models)
        cases = await _cases(settings.data_dir, remembering, await Background.of(remembering))
    finally:
        await encoder.close()
    logits = _unseen(cases)
    thresholds = _thresholds(logits, [case.kind for case in cases])
    touched = np.any(logits >= np.array(thresholds), axis=1)
    for listed in sorted({len(case.answered) // 2 for case in cases}):
        for kind in sorted({case.kind for case in cases}):
            some = [i for i, case in enumerate(cases) if case.kind == kind and len(case.answered) // 2 == listed]
            early = np.mean(logits[some, 0] >= thresholds[0])
            console.print(
                f"{listed} facts, {kind}: {np.mean(touched[some]):.4f} touched, {early:.3f} before the answer"
            )
    kept: dict[str, Any] = {"source": "TOFU (MIT), authors 0-19: bench/facts_prior.py", "features": FEATURES}
    for name, answers, threshold in (("asked", False, thresholds[0]), ("told", True, thresholds[1])):
        head = _fit(cases, answers)
        kept[name] = {"weights": np.round(head.weights, 3).tolist(), "bias": round(head.bias - threshold, 3)}
        console.print(name, dict(zip(FEATURES, kept[name]["weights"], strict=True)))
    _PRIOR.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    asyncio.run(_main(Console()))
