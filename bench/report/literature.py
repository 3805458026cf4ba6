"""What others report, and how far what is measured here can stand beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

RELEASED, REPEATED, ULD, ECO, O3, ENCODER, TUNED, LITELLM = (
    "OpenUnlearning's logs",
    "OpenUnlearning's table",
    "ULD",
    "ECO",
    "O3",
    "plain encoder",
    "tuned encoder",
    "LiteLLM",
)
SOURCES: Mapping[str, str] = {
    RELEASED: "evaluation logs released with github locuslab/open-unlearning",
    REPEATED: "results that github locuslab/open-unlearning reports",
    ULD: "arXiv 2406.08607; an open issue of its repository says that its code does not reach what it reports",
    ECO: "arXiv 2406.07933",
    O3: "arXiv 2407.10223",
    ENCODER: "names and the highest cosine of all-MiniLM-L6-v2, on the same probes in the same run: one threshold for "
    "all, and none of PISTOL or unseen authors",
    TUNED: "the same encoder by cosine, or by margin over what must stay, at thresholds chosen for it: measured by "
    "ourselves, once, on other samples, not by these harnesses; the row to beat",
    LITELLM: "its proxy without any guard, measured beside the gateway in alternating rounds",
}


@dataclass(frozen=True, slots=True)
class Beside:
    """A figure of ours, by benchmark and name, and what another reports of nearly the same.

    Attributes:
        better: which way is better.
        differs: in what the two are not the same.
    """

    benchmark: str
    figure: str
    theirs: float
    better: Literal["less", "more"]
    source: str
    differs: str

    def worse(self, ours: float) -> bool:
        """Whether ours is the worse."""
        return ours > self.theirs if self.better == "less" else ours < self.theirs


_RWKU = "ours five rounds of 20 of 70 people, theirs 20 of 100"
_UNSEEN = "theirs on official paraphrases of what was filed, ours on questions that nobody filed"
_SAME_CORES = "the same two cores and mock server; ours judges every prompt, theirs passes them on"

BESIDE: Sequence[Beside] = (
    Beside("guard", "TOFU 180: recall", 0.995, "more", TUNED, "theirs at 0.1 % false positives, margin over retain"),
    Beside("guard", "TOFU 180: other authors' questions lost", 0.1, "less", TUNED, "theirs at recall 0.995"),
    Beside("guard", "TOFU 100, unseen: recall", 0.995, "more", TUNED, _UNSEEN),
    Beside("guard", "TOFU 100, unseen: other authors' questions lost", 0.1, "less", TUNED, _UNSEEN),
    Beside("guard", "RWKU: leak over all probes", 4.1, "less", TUNED, f"{_RWKU}, at 20 % neighbours lost"),
    Beside("guard", "RWKU: leak over all probes", 7.1, "less", TUNED, f"{_RWKU}, at 9 % neighbours lost"),
    Beside("guard", "RWKU: neighbours lost", 9, "less", TUNED, f"{_RWKU}, at 7.1 % leak"),
    Beside("guard", "RWKU: neighbours lost", 20, "less", TUNED, f"{_RWKU}, at 4.1 % leak"),
    Beside("guard", "RWKU: leak in the worst type", 36, "less", TUNED, f"{_RWKU}, at its best setting"),
    Beside(
        "guard",
        "decision, p50, 10,000 targets",
        21,
        "less",
        ECO,
        "theirs a classifier on other hardware, about 21 ms",
    ),
    Beside(
        "uld",
        "forget quality, p against the retain model, worst set",
        0.52,
        "more",
        ULD,
        "theirs TOFU forget10 on Llama-2-7B, ours five made-up people on a model of four layers, the worst set",
    ),
    *(
        Beside("load", f"{name}, share of LiteLLM's", 1, "less", LITELLM, differs)
        for name, differs in (
            ("added latency of a whole answer, p50", _SAME_CORES),
            ("added time to the first token of a stream, p50", _SAME_CORES),
            ("CPU per streamed request", _SAME_CORES),
            ("p99 of streams at 40 requests/s", f"{_SAME_CORES}; as many streams are more than LiteLLM can do"),
            ("p99 of whole answers at 40 requests/s", _SAME_CORES),
        )
    ),
    *(
        Beside("load", f"{name} a second at saturation, times LiteLLM's", 1, "more", LITELLM, _SAME_CORES)
        for name in ("streams", "whole answers")
    ),
)


@dataclass(frozen=True, slots=True)
class Reported:
    """A row of somebody's table: values by metric."""

    benchmark: str
    setting: str
    row: str
    values: Mapping[str, float]
    source: str


_COLUMNS = ("Probability", "ROUGE", "ES", "EM", "Truth Ratio", "FQ", "MU", "Min-K AUC")
FULL = 0.628  # Model Utility of Llama-2-7B before anything is forgotten, by RELEASED
_SIZES = ("forget01", "forget05", "forget10")

PLAIN, SERVED = "names or max cosine", "full"  # configurations of the guards
PLAIN_COLUMNS = ("leak", "worst type", "neighbours lost", "others lost")  # per cent, the less the better


def _released(model: str, row: str, *values: float) -> Reported:
    return Reported("tofu", f"forget10, Llama-{model}", row, dict(zip(_COLUMNS, values, strict=True)), RELEASED)


def _three(row: str, source: str, *pairs: tuple[float, float]) -> Sequence[Reported]:
    """Forget Quality and Model Utility at each size of the forget set."""
    return [
        Reported("tofu", f"{size}, Llama-2-7B", row, {"FQ": quality, "MU": utility}, source)
        for size, (quality, utility) in zip(_SIZES, pairs, strict=True)
    ]


REPORTED: Sequence[Reported] = (
    _released("3.2-1B", "full", 0.881, 0.820, 0.706, 0.974, 0.476, 3.9e-22, 0.599, 0.997),
    _released("3.2-1B", "retain90", 0.116, 0.379, 0.059, 0.585, 0.627, 1, 0.591, 0.383),
    _released("2-7B", "full", 0.990, 0.976, 0.982, 0.999, 0.519, 4.4e-25, FULL, 0.999),
    _released("2-7B", "retain90", 0.148, 0.399, 0.070, 0.665, 0.681, 1, 0.613, 0.387),
    *_three("ULD", ULD, (0.99, 0.62), (0.73, 0.62), (0.52, 0.62)),
    *_three("NPO", REPEATED, (0.4, 0.58), (0.09, 0.53), (0.42, 0.54)),
    *_three("RMU", REPEATED, (0.4, 0.62), (1e-9, 0.02), (7e-21, 0.03)),
    *_three("IdkDPO", REPEATED, (0.1, 0.56), (4e-6, 0.04), (5e-13, 0.04)),
    *_three("GradDiff", REPEATED, (3e-3, 0.57), (0, 0.56), (0, 0.58)),
    Reported("tofu", "requests in sequence", "O3", {"MIA AUC": 0.559}, O3),
)
