"""How well O3's detectors tell their own request's prompts from everybody else's.

On the demo world the detectors that a stream's requests learned are asked, with questions in forms that nobody was
taught. On TOFU and RWKU detectors are fitted on what an admin would file: TOFU's forget01, 05 and 10 as they come one
after another, RWKU's people in rounds of twenty. AUROC is of each request's own prompts against all others, those
about other requests included, averaged; `union` of the highest score among the requests.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adapters.o3.adapter import DETECTOR
from bench.o3.people import Stream
from bench.omniscient import Round
from bench.ood import auroc, texts_of
from bench.probes import rwku, tofu
from bench.remembering import Remembering
from gateway.core import Core, guard_encoder
from gateway.demo.forms import probes
from gateway.demo.world import World
from gateway.settings import Settings
from guards.encoder import Encoder, Floats
from guards.ood import Detector, fit
from guards.targets import Source, ordinary_prompts

_STAGES = (("forget01", 198), ("forget05", 190), ("forget10", 180))  # the first author of each; the last is 199


@dataclass(frozen=True, slots=True)
class Detected:
    """One set of requests. `missed` own prompts load nothing; of all others `loaded` load one LoRA or more."""

    name: str
    requests: int
    own: int
    others: int
    auroc: float
    lowest: float  # of one request
    union: float
    missed: float
    loaded: float

    @classmethod
    def of(cls, name: str, scores: Floats, weights: Floats, own: Sequence[int | None]) -> "Detected":
        """Of scores and weights (requests, probes); `own` is the request that each probe is about, None for none."""
        about = np.array([-1 if one is None else one for one in own])
        hit = about >= 0
        each = [auroc(row[about == i], row[about != i]) for i, row in enumerate(scores)]
        best = scores.max(axis=0)
        due = weights[about[hit], np.nonzero(hit)[0]]
        return cls(
            name,
            len(scores),
            int(hit.sum()),
            int((~hit).sum()),
            float(np.mean(each)),
            float(min(each)),
            auroc(best[hit], best[~hit]),
            float((due == 0).mean()),
            float((weights[:, ~hit] > 0).any(axis=0).mean()),
        )


async def of_stream(core: Core, world: World, stream: Stream, requests: Mapping[str, int]) -> Detected | None:
    """The detectors in force, asked in held-out forms about everybody, and chatter; None where there are none.

    Args:
        requests: the place in the stream of each request in force.
    """
    detectors: list[Detector] = []
    places: list[int] = []
    for id_, one in core.enforcer.policies.current.enforced.items():
        if artifact := (one.artifacts or {}).get("o3"):
            assert artifact.folder
            raw = (artifact.folder / DETECTOR).read_bytes()
            detectors.append(Detector.from_bytes(raw, core.encoder.identity))
            places.append(requests[id_])
    if not detectors:
        return None
    owner = {person.key: i for i, place in enumerate(places) for person in stream.requests[place]}
    asked = probes(world, ("heldout", "chatter"), per_fact=2, seed=500 + stream.seed)
    own = [owner.get(probe.about[0]) if probe.about else None for probe in asked]
    features = (await core.encoder.encode([probe.question for probe in asked], bulk=True))[:, None]
    return Detected.of(f"world, stream {stream.seed}", *_judged(detectors, features), own)


async def of_texts(settings: Settings, rounds: int, said: Callable[[str], None]) -> list[Detected]:
    """TOFU's three stages, and RWKU; what is not in the data folder is left out, and said."""
    encoder = await guard_encoder(settings)
    remembering = Remembering(encoder, settings.models)
    found: list[Detected] = []
    try:
        for name, read in (("TOFU", _tofu), ("RWKU", _rwku)):
            try:
                sets = read(settings.data_dir, rounds)
            except FileNotFoundError:
                said(f"not measured on {name}: LETHE_DATA_DIR has no such data")
                continue
            found += [await _fitted(one, remembering) for one in sets]
    finally:
        await encoder.close()
    return found


def _tofu(data_dir: Path, rounds: int) -> list[Round]:
    """The three stages: the same probes, and ever more requests."""
    whole = tofu.paraphrased(data_dir)
    return [
        Round("TOFU", f"TOFU {name}", tuple(one for one in whole.sources if int(one.request) >= first), whole.probes)
        for name, first in _STAGES
    ]


def _rwku(data_dir: Path, rounds: int) -> list[Round]:
    return [
        Round("RWKU", f"RWKU, {one.name}", one.sources, one.probes)
        for one in rwku.measurement(rwku.People.read(data_dir), rounds)
    ]


async def _fitted(one: Round, encoder: Encoder) -> Detected:
    """Detectors of what was filed, asked about all that the round asks of one request or none."""
    ordinary = await _features(encoder, ordinary_prompts())
    detectors = [await _detector(source, encoder, ordinary) for source in one.sources]
    place = {source.request: i for i, source in enumerate(one.sources)}
    asked = [probe for probe in one.probes if len(probe.turns) == 1 and len(probe.about) <= 1 and not probe.apart]
    own = [place.get(next(iter(probe.about))) if probe.about else None for probe in asked]
    features = await _features(encoder, [probe.turns[0] for probe in asked])
    return Detected.of(one.name, *_judged(detectors, features), own)


async def _detector(source: Source, encoder: Encoder, ordinary: Floats) -> Detector:
    """As `gateway.jobs.o3` fits them."""
    return fit(await _features(encoder, texts_of(source)), ordinary, encoder.identity)


async def _features(encoder: Encoder, texts: Sequence[str]) -> Floats:
    """(n, 1, d): the last layer is the vector itself."""
    return (await encoder.encode(texts, bulk=True))[:, None]


def _judged(detectors: Sequence[Detector], features: Floats) -> tuple[Floats, Floats]:
    """Scores and weights, (requests, probes); only those who are touched share the error rate, which is one."""
    return (
        np.stack([detector.scores(features) for detector in detectors]),
        np.stack([detector.weight(features, 1) for detector in detectors]),
    )
