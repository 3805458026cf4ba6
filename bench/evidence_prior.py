"""`python -m bench.evidence_prior`: the weights from which every request's classifier starts.

One logistic regression over the thirty people of RWKU on whom anything may be chosen (`bench.probes.rwku`;
they are measured nowhere): what is asked about a person, against neighbours' questions and other
people's. Prompts that hold the whole name are left out, since the lexicon decides these. What is kept
is a number for each kind of evidence and two thresholds, no text: guards/prior.json. The thresholds let
through what the figures allow of controls, seen on people that the regression did not see.
"""

import argparse
import asyncio
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from bench.omniscient import Probe
from bench.probes.rwku import BLANK, DEVELOPMENT, People
from bench.remembering import Remembering
from bench.result import write_whole
from gateway.settings import load
from guards.aliases import words
from guards.base import Conversation, LetheError
from guards.classifier import DESIGN, surely_named
from guards.conversation import windows
from guards.encoder import Encoder, Floats, open_encoder
from guards.learning import LEARN, build_targets
from guards.reading import Text
from guards.targets import Background, Likeness

NEIGHBOURS_LOST = 0.05  # what the figures allow
OTHERS_LOST = (
    0.0006  # by one request: of twenty that stand together, .005 of development prompts, for few trip only one
)
_OTHERS = 500  # other people's questions, for each person
_PASSAGES = 12  # about other people, for each person, read in windows
_REGULAR = 1.0  # the inverse of the precision of the weights
_NEIGHBOUR = 0.5  # what a neighbour's question weighs: fewer of others' may be lost than of these
_FOLDS = 6
_GRID = 1 - np.array([0, 1, 2, 3, 4, 6, 8, 10, 15, 20, 30]) / 10_000

_PRIOR = Path(__file__).parent.parent / "guards" / "prior.json"


class NoThresholds(LetheError):
    """None let through what the figures allow."""


@dataclass(frozen=True, eq=False)
class _Rows:
    """Features of prompts (n, f), of the same with their gold answers, and what they are."""

    asked: Floats = field(repr=False)
    answered: Floats = field(repr=False)
    kind: NDArray[np.str_]
    person: NDArray[np.str_]

    @property
    def touched(self) -> NDArray[np.bool_]:
        return np.asarray(self.kind == "touched", np.bool_)


async def _rows(people: People, encoder: Encoder, background: Background) -> _Rows:
    asked: list[Floats] = []
    answered: list[Floats] = []
    kinds: list[str] = []
    persons: list[str] = []
    for name in people.names[:DEVELOPMENT]:
        targets = await build_targets(people.source(name), encoder, background, LEARN)
        probes = [*_chosen(people, name)]
        prompts = [Text(probe.turns[-1]) for _, probe in probes]
        told = [Text(f"{probe.turns[-1]} {probe.answer}") for _, probe in probes]
        for texts, found in ((prompts, asked), (told, answered)):
            vectors = await encoder.encode(texts)
            found.append(targets.features(texts, Likeness.of(targets, vectors, background.nearest(vectors))))
        kinds += [kind for kind, _ in probes]
        persons += [name] * len(probes)
    return _Rows(np.concatenate(asked), np.concatenate(answered), np.array(kinds), np.array(persons))


def _chosen(people: People, name: str) -> Iterator[tuple[str, Probe]]:
    """About one person, beside that person, and a sample of the rest; none that names the person in full."""
    whole = " ".join(words(name))
    rest = [one for other in people.names[:DEVELOPMENT] if other != name for one in people.asked[other]]
    passages = random.Random(name).sample(people.spare, _PASSAGES)
    told = [window.text for text in passages for window in windows(Conversation.of(text))]
    groups = {
        "touched": people.asked[name],
        "neighbours": people.neighbours[name],
        "others": random.Random(name).sample(rest, _OTHERS),
        "passages": [Probe("", (text,), "") for text in told],
    }
    for kind, probes in groups.items():
        for probe in dict.fromkeys(probes):
            prompt = probe.turns[-1]
            if whole not in " ".join(words(f"{prompt} {probe.answer} {BLANK.sub(probe.answer, prompt)}")):
                yield kind, probe


def _fit(rows: _Rows, some: NDArray[np.bool_]) -> tuple[StandardScaler, LogisticRegression]:
    x = np.concatenate([rows.asked[some], rows.answered[some]])
    y = np.concatenate([rows.touched[some]] * 2)
    scaler = StandardScaler().fit(x)
    weight = np.where(rows.kind[some] == "neighbours", _NEIGHBOUR, 1.0)
    model = LogisticRegression(C=_REGULAR, max_iter=2000)
    return scaler, model.fit(scaler.transform(x), y, sample_weight=np.concatenate([weight] * 2))


def _unseen(rows: _Rows) -> tuple[Floats, Floats]:
    """Logits of prompts, and of prompts with their answers, by regressions that did not see the person."""
    people = sorted(set(rows.person))
    asked, answered = np.zeros((2, len(rows.kind)), np.float32)
    for fold in range(_FOLDS):
        out = np.isin(rows.person, people[fold::_FOLDS])
        scaler, model = _fit(rows, ~out)
        asked[out] = model.decision_function(scaler.transform(rows.asked[out]))
        answered[out] = model.decision_function(scaler.transform(rows.answered[out]))
    return asked, answered


def _lost(hit: NDArray[np.bool_], rows: _Rows) -> dict[str, float]:
    """The share that is touched of each kind."""
    return {str(kind): float(hit[rows.kind == kind].mean()) for kind in sorted(set(rows.kind))}


def _thresholds(asked: Floats, answered: Floats, sure: NDArray[np.bool_], rows: _Rows) -> tuple[float, float]:
    """The pair that touches most of what must be, among those by which no more controls are lost than is allowed.

    Raises:
        NoThresholds: there is none.
    """
    others = rows.kind == "others"
    best = (0.0, np.inf, np.inf)
    for one in np.quantile(asked[others], _GRID):
        for two in np.quantile(answered[others], _GRID):
            found = _lost((asked > one) | (answered > two) | sure, rows)
            if found["others"] <= OTHERS_LOST and found["neighbours"] <= NEIGHBOURS_LOST:
                best = max(best, (found["touched"], float(one), float(two)))
    if not np.isfinite(best[1]):
        raise NoThresholds(
            "every pair of thresholds loses more controls than is allowed: guards/prior.json stays as it is"
        )
    return best[1], best[2]


async def _main(console: Console) -> None:
    settings = load()
    encoder = await open_encoder(settings.guard.encoder, 2)
    try:
        remembering = Remembering(encoder, settings.models)
        rows = await _rows(People.read(settings.data_dir), remembering, await Background.of(remembering))
    finally:
        await encoder.close()
    asked, answered = _unseen(rows)
    sure = surely_named(rows.asked)
    answered[(rows.asked[:, DESIGN.index("who")] > 0) & ~sure] = -np.inf  # as `guards.dense` reviews
    thresholds = _thresholds(asked, answered, sure, rows)
    for name, hit in (
        ("surely named", sure),
        ("by the prompt", sure | (asked > thresholds[0])),
        ("or with the answer", sure | (asked > thresholds[0]) | (answered > thresholds[1])),
    ):
        console.print(name, {kind: round(share, 4) for kind, share in _lost(hit, rows).items()})
    scaler, model = _fit(rows, np.ones(len(rows.kind), np.bool_))
    kept = {
        "source": f"RWKU (CC-BY-4.0), its first {DEVELOPMENT} people: bench/evidence_prior.py",
        "features": DESIGN,
        "mean": np.round(scaler.mean_, 4).tolist(),
        "scale": np.round(scaler.scale_, 4).tolist(),
        "weights": np.round(model.coef_[0], 4).tolist(),
        "bias": round(float(model.intercept_[0]), 4),
        "threshold": round(thresholds[0], 3),
        "answered": round(thresholds[1], 3),
    }
    write_whole(_PRIOR, json.dumps(kept, indent=1, allow_nan=False) + "\n", 0o644)
    console.print({name: round(float(weight), 2) for name, weight in zip(DESIGN, model.coef_[0], strict=True)})


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    asyncio.run(_main(Console()))
