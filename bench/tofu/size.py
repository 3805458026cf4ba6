"""How much `lethe bench tofu` measures: everything, or little and quickly."""

from dataclasses import dataclass

from bench.tofu.questions import SPLITS

METHODS = ("ignorance", "eco", "uld", "o3")
BESIDE = ("full", "retain")  # to which all others are compared
ALONE = (*BESIDE, "prompt", "npo")


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is asked: questions drawn often and how often, and questions that are timed."""

    drawn: int
    draws: int
    paced: int

    @property
    def ks(self) -> list[int]:
        """1, 2, 4 … up to the draws."""
        return [1 << i for i in range(self.draws.bit_length())]


_EFFORT = Effort(drawn=40, draws=128, paced=20)  # questions differ more than draws of one do


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Attributes:
        alone: rows without a gateway, `BESIDE` always among them.
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
    alone=BESIDE,
    methods=("eco",),  # O3 and ULD train for minutes, and are measured quickly by benchmarks of their own
    authors=1,
    kept=6,
    effort=Effort(drawn=2, draws=16, paced=4),
    quick=True,
)
