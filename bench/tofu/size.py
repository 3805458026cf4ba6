"""How much `lethe bench tofu` measures: everything, or little and quickly."""

from dataclasses import dataclass

from bench.tofu.measuring import Effort
from bench.tofu.questions import SPLITS

METHODS = ("ignorance", "eco", "uld", "o3")
ALONE = ("full", "retain", "prompt", "npo")

_EFFORT = Effort(drawn=20, draws=200, paced=20)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Attributes:
        alone: rows without a gateway; the first two, to which all are compared, are always among them.
        authors: of a split at most, None for all.
        kept: questions of a set that must stay, likewise.
        quick: whether that is less than figures should rest on.
    """

    splits: tuple[str, ...] = tuple(SPLITS)
    seeds: tuple[int, ...] = (0, 1, 2)
    alone: tuple[str, ...] = ALONE
    methods: tuple[str, ...] = METHODS
    authors: int | None = None
    kept: int | None = None
    effort: Effort = _EFFORT
    quick: bool = False


QUICK = Size(
    ("forget01",),
    (0,),
    alone=ALONE[:3],  # the fourth trains
    methods=("ignorance", "eco", "o3"),
    authors=1,
    kept=12,
    effort=Effort(drawn=4, draws=16, paced=4),
    quick=True,
)
