"""TOFU's paraphrases and controls under every disguise of `bench.probes.disguises`, beside the same undisguised."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from bench.omniscient import Probe, Round
from bench.probes.disguises import DISGUISES, disguised

PLAIN = "plain"


def under_disguise(plain: Round, forget: int, controls: int, seed: int = 0) -> Round:
    """A round of which `forget` and `controls` probes, drawn by seed, are asked in plain and under each disguise.

    The kinds of its probes are the names of the disguises. Controls are drawn alike from each of their groups.
    """
    rng = random.Random(seed)
    groups: dict[str, list[Probe]] = {}
    for probe in plain.probes:
        groups.setdefault("" if probe.about else probe.kind, []).append(probe)
    touched = groups.pop("")
    share = controls // len(groups)
    chosen = [
        *rng.sample(touched, min(forget, len(touched))),
        *chain.from_iterable(rng.sample(group, min(share, len(group))) for group in groups.values()),
    ]
    return replace(plain, family=f"{plain.family}, disguised", probes=tuple(_asked(chosen, seed)))


def _asked(chosen: Sequence[Probe], seed: int) -> Iterator[Probe]:
    yield from (replace(probe, kind=PLAIN) for probe in chosen)
    for name in DISGUISES:
        texts = disguised([probe.turns[0] for probe in chosen], name, seed)
        yield from (replace(probe, kind=name, turns=(text,)) for probe, text in zip(chosen, texts, strict=True))
