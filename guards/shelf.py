"""Some requests as arrays: what `guards.search` reads of all of them at once. Built once, never changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from guards.encoder import Floats
from guards.evidence import NAMED, UNNAMED, VAGUE
from guards.judges import Judges
from guards.nearest import Nearest, Rows, build
from guards.targets import Targets

_NEVER = 4.0  # more than any two cosines differ by

Owners = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Shelf:
    """Some requests, all with a classifier, or relations of facts, or all without.

    `places` says where a request stands, `owners[row]` where a row's request does, `starts` where its rows begin
    and the last ones end; `listing` tells those that list facts; `led[key]` are places in ascending order.
    `lifts` (2, rows): what evidence adds at most to a row's cosine, without and with one of the request's keys;
    `highest` (2, requests): of a request's rows.
    """

    judges: Judges | None = field(repr=False)
    nearest: Nearest = field(repr=False)
    requests: tuple[Targets, ...] = field(repr=False)
    places: Mapping[str, int] = field(repr=False)
    owners: Owners = field(repr=False)
    starts: Rows = field(repr=False)
    listing: NDArray[np.bool_] = field(repr=False)
    thresholds: Floats = field(repr=False)
    lifts: Floats = field(repr=False)
    highest: Floats = field(repr=False)
    led: Mapping[str, Owners] = field(repr=False)


Shelves = tuple[Shelf, ...]


def shelved(entries: Sequence[tuple[str, Targets]]) -> Shelves:
    """Of (request, targets): those of which more than likeness is known apart from the others."""
    learned = [targets for _, targets in entries if _learned(targets)]
    plain = [targets for _, targets in entries if not _learned(targets)]
    return tuple(_shelf(some) for some in (learned, plain) if some)


def _learned(targets: Targets) -> bool:
    """Whether more than likeness may touch it."""
    return targets.classifier is not None or targets.relations is not None


def _shelf(requests: Sequence[Targets]) -> Shelf:
    led: dict[str, list[int]] = {}
    for place, targets in enumerate(requests):
        for key in targets.keys:
            led.setdefault(key, []).append(place)
    lifts = [_lifts(targets) for targets in requests]
    sizes = [len(targets.positives) for targets in requests]
    return Shelf(
        judges=Judges.of(requests) if _learned(requests[0]) else None,
        nearest=build([targets.positives for targets in requests]),
        requests=tuple(requests),
        places={targets.request: place for place, targets in enumerate(requests)},
        owners=np.repeat(np.arange(len(requests), dtype=np.int32), sizes),
        starts=np.cumsum([0, *sizes]),
        listing=np.array([targets.relations is not None for targets in requests]),
        thresholds=np.array([targets.threshold for targets in requests], np.float32),
        lifts=np.concatenate(lifts, axis=1),
        highest=np.stack([one.max(axis=1) for one in lifts], axis=1),
        led={key: np.array(places, np.int32) for key, places in led.items()},
    )


def _lifts(targets: Targets) -> Floats:
    """(2, p). Passages beside questions are the classifier's alone."""
    if (marks := targets.marks) is None:
        return np.zeros((2, len(targets.positives)), np.float32)
    lifts = np.full((2, len(targets.positives)), -_NEVER, np.float32)
    named, vague = np.array(marks.named, np.float32), VAGUE * np.array(marks.vague, np.float32)
    lifts[:, : len(named)] = UNNAMED * named + vague, NAMED * named + vague
    return lifts
