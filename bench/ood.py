"""How well O3's detector tells a request's prompts from all others, on the development sets.

Each request's own texts make its detector; the sets' probes are scored as one prompt each. Beside the
detector stand the likeness that the dense guard rests on, the mean of both in units of their
leave-one-out deviation, and the detector over all layers, with the contrastive-entropy head and without.
A prompt's score is the highest over the round's requests.

    python -m bench.ood [--training]
"""

import argparse
import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.omniscient import Probe, Round
from bench.probes import rwku, tofu
from bench.remembering import Remembering
from gateway.demo import forms
from gateway.demo.world import make_world
from gateway.settings import load
from guards.contrast import contrasts
from guards.conversation import cut
from guards.encoder import Encoder, Floats, open_encoder
from guards.ood import Detector, Head, fit
from guards.ood_training import masked, train
from guards.targets import LAMBDA, Source, ordinary_prompts, top

RATES = (0.001, 0.005, 0.01)

_FORMS = ("Who is {}?", "Tell me about {}.", "What is {} known for?", "Where was {} born?")


@dataclass(frozen=True, slots=True)
class Separation:
    """What one score makes of a round: `recall` at each of `RATES`; `auroc` of each request's own, averaged."""

    auroc: float
    union: float
    recall: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Weighed:
    """Shares of prompts: own ones that load nothing, own ones that load half or more, controls that load anything."""

    own_none: float
    own_half: float
    controls: float


def auroc(positives: Floats, negatives: Floats) -> float:
    """The chance that a positive scores above a negative, ties counting half."""
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, "left") + np.searchsorted(ordered, positives, "right")
    return float(below.mean() / (2 * len(negatives)))


def recall(positives: Floats, negatives: Floats, rate: float) -> float:
    """Share of positives above the threshold that `rate` of the negatives exceed."""
    return float((positives > np.sort(negatives)[::-1][int(rate * len(negatives))]).mean())


def separation(scores: Floats, own: Sequence[int | None]) -> Separation:
    """Of `scores` (requests, probes); `own` is the request that each probe is about, None for a control."""
    about = np.array([-1 if one is None else one for one in own])
    each = [auroc(row[about == i], row[about < 0]) for i, row in enumerate(scores) if (about == i).any()]
    best = scores.max(axis=0)
    hit, others = best[about >= 0], best[about < 0]
    return Separation(float(np.mean(each)), auroc(hit, others), tuple(recall(hit, others, rate) for rate in RATES))


def weighed(weights: Floats, own: Sequence[int | None]) -> Weighed:
    """Of `weights` (requests, probes); `own` as of `separation`."""
    about = np.array([-1 if one is None else one for one in own])
    due = weights[about[about >= 0], np.nonzero(about >= 0)[0]]
    taken = weights[:, about < 0].max(axis=0)
    return Weighed(float((due == 0).mean()), float((due >= 0.5).mean()), float((taken > 0).mean()))


def texts_of(source: Source) -> list[str]:
    """A request's own texts: examples, questions of facts, passages, and who the subject is."""
    asked = [form.format(source.subject) for form in _FORMS] if source.subject else []
    passages = (passage for document in source.documents for passage in cut(document))
    return list(dict.fromkeys([*asked, *source.examples, *(question for question, _ in source.facts), *passages]))


def world_round(people: int = 20) -> Round:
    """Some of the world's people: training forms are filed, held-out forms asked, strangers are the controls."""
    world = make_world()
    trained, heldout = (forms.probes(world, (kind,), per_fact=2) for kind in ("trained", "heldout"))
    chosen = {person.key: person for person in world.people[:people]}
    sources = [
        Source(
            key,
            "entity",
            person.name,
            person.aliases,
            examples=tuple(dict.fromkeys(probe.question for probe in trained if probe.about == (key,))),
        )
        for key, person in chosen.items()
    ]
    asked = (*heldout, *forms.probes(world, ("unknown", "chatter")))
    probes = [Probe(one.kind, (one.question,), one.answer, frozenset(chosen) & set(one.about)) for one in asked]
    return Round("demo world", "development", tuple(sources), tuple(dict.fromkeys(probes)))


async def measure(one: Round, encoder: Encoder, training: bool = False) -> tuple[Mapping[str, Separation], Weighed]:
    """Each score's separation of the prompts that concern one request of the round from those that concern none."""
    ordinary = await encoder.layers(ordinary_prompts(), bulk=True)
    probes = [probe for probe in one.probes if len(probe.turns) == 1 and len(probe.about) <= 1]
    asked = await encoder.layers([probe.turns[0] for probe in probes], bulk=True)
    place = {source.request: i for i, source in enumerate(one.sources)}
    own = [place[next(iter(probe.about))] if probe.about else None for probe in probes]
    found: dict[str, list[Floats]] = {}
    weights: list[Floats] = []
    for source in one.sources:
        texts = texts_of(source)
        names = (source.subject, *source.aliases)
        features = await encoder.layers(texts, bulk=True)
        others = await encoder.layers([pair for text in texts for pair in contrasts(text, names, 1)], bulk=True)
        heads: dict[str, Head | None] = {"": None}
        if training:
            heads[", head"] = train(await encoder.layers(masked(texts), bulk=True), features)
        last, all_ = slice(-1, None), slice(1, None)
        detector = fit(features[:, last], ordinary[:, last], encoder.identity, others[:, last])
        margin, scores = _margin(features[:, -1], asked[:, -1], ordinary[:, -1]), detector.scores(asked[:, last])
        found.setdefault("likeness", []).append(margin[0])
        found.setdefault("detector", []).append(scores)
        found.setdefault("mean of both", []).append((margin[1] + scores) * np.float32(0.5))
        weights.append(detector.weight(asked[:, last], len(one.sources)))
        for name, head in heads.items():
            for label, kept in (("last layer", last), ("all layers", all_)):
                if label == "all layers" or head:
                    part = head and Head(head.down[kept], head.up[kept])
                    deep: Detector = fit(features[:, kept], ordinary[:, kept], encoder.identity, head=part)
                    found.setdefault(f"{label}{name}", []).append(deep.scores(asked[:, kept]))
    rows = {name: separation(np.stack(scores), own) for name, scores in found.items()}
    return rows, weighed(np.stack(weights), own)


def _margin(own: Floats, asked: Floats, ordinary: Floats) -> tuple[Floats, Floats]:
    """The dense guard's margin without evidence: as it is, and in leave-one-out deviations of `own`."""
    own, asked, ordinary = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (own, asked, ordinary))
    likeness = own @ own.T
    np.fill_diagonal(likeness, -1.0)
    left_out = likeness.max(axis=1) - LAMBDA * top(own @ ordinary.T).mean(axis=1)
    margin: Floats = (asked @ own.T).max(axis=1) - LAMBDA * top(asked @ ordinary.T).mean(axis=1)
    return margin, (margin - np.float32(left_out.mean())) / np.float32(max(left_out.std(), 0.02))


def _controlled(one: Round, neighbours: bool) -> Round:
    """The round with its neighbours for only controls, or without them."""
    kept = [probe for probe in one.probes if probe.about or (probe.kind in rwku.NEIGHBOURS) == neighbours]
    return replace(one, name=f"{one.name}, controls: {'neighbours' if neighbours else 'others'}", probes=tuple(kept))


def _table(title: str, rows: Mapping[str, Separation], weights: Weighed) -> Table:
    caption = (
        f"weight: none on {weights.own_none:.1%} and half or more on {weights.own_half:.1%} of own prompts, "
        f"any on {weights.controls:.1%} of the controls"
    )
    columns = ("score", "AUROC", "of the union", *(f"recall at {rate:.1%}" for rate in RATES))
    table = Table(*columns, title=title, caption=caption)
    for name, one in rows.items():
        table.add_row(name, f"{one.auroc:.4f}", f"{one.union:.4f}", *(f"{share:.3f}" for share in one.recall))
    return table


async def _main(rounds: Iterable[Round], folder: Path, training: bool) -> None:
    encoder = await open_encoder()
    try:
        for one in rounds:
            rows, weights = await measure(one, Remembering(encoder, folder), training)
            Console(width=110).print(_table(f"{one.family}, {one.name}", rows, weights))
    finally:
        await encoder.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.ood", description="O3's detector on the development sets.")
    parser.add_argument("--training", action="store_true", help="with contrastive-entropy heads too")
    given = parser.parse_args()
    settings = load()
    people = rwku.People.read(settings.data_dir)
    person = rwku.development(people)[0]
    sets = [
        world_round(),
        tofu.paraphrased(settings.data_dir, 0),
        *(_controlled(person, neighbours) for neighbours in (False, True)),
    ]
    asyncio.run(_main(sets, settings.models, given.training))
