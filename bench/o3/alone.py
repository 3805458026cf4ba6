"""O3 with no output guard and no ignorance behind it: the engine's own answers under its LoRAs.

First as it is served: what the router plans for a prompt, at the weight that the detectors give it. Then by force:
each request's own LoRA at every published weight, whatever the detector says of the prompt, and all LoRAs at once on
prompts about nobody who is forgotten, which is what the detectors are there to prevent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.base import Adapted, Scaled
from adapters.o3.adapter import LEVELS
from bench.alone import planned, said
from bench.tally import Kept
from gateway.core import Core
from gateway.demo.forms import Probe, correct

_Asked = tuple[Probe, str, Adapted]  # with what the retain model answers


@dataclass(frozen=True, slots=True)
class About:
    """One request, the probes about it, and what the retain model answers to them."""

    request: str
    asked: Sequence[Probe]
    without: Sequence[str]


@dataclass(frozen=True, slots=True)
class Level:
    """Probes answered at one weight, and how many of them are answered correctly, there and by the retain model."""

    weight: float
    asked: int
    right: int
    right_retain: int

    @classmethod
    def of(cls, weight: float, asked: Sequence[tuple[Probe, str]], texts: Sequence[str]) -> "Level":
        """Marks the answers; `asked` are probes with the retain model's."""
        return cls(
            weight,
            len(asked),
            sum(correct(probe, text) for (probe, _), text in zip(asked, texts, strict=True)),
            sum(correct(probe, without) for probe, without in asked),
        )

    @property
    def excess(self) -> float:
        """Correct answers above the retain model's, as a share; all of it where nothing was asked."""
        return (self.right - self.right_retain) / self.asked if self.asked else 1.0

    def row(self) -> dict[str, Any]:
        """As JSON; the leak in points."""
        return {"weight": self.weight, "asked": self.asked, "leak": round(100 * self.excess, 2) if self.asked else None}


@dataclass(frozen=True, slots=True)
class Alone:
    """One stream, by O3 alone: what it planned of `asked` by weight, what it does by force, and what to others."""

    asked: int
    served: tuple[Level, ...]
    forced: tuple[Level, ...]
    everywhere: Kept

    @property
    def planned(self) -> float:
        """Share of the probes for which O3 made a plan at all."""
        return sum(level.asked for level in self.served) / self.asked

    @property
    def excess(self) -> float:
        """Correct answers above the retain model's of those that O3 planned."""
        asked = sum(level.asked for level in self.served)
        return sum(level.right - level.right_retain for level in self.served) / asked if asked else 1.0

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "asked": self.asked,
            "planned": round(self.planned, 4),
            "leak": round(100 * self.excess, 2),
            "served": [level.row() for level in self.served],
            "forced": [level.row() for level in self.forced],
            "retained_under_all_loras": self.everywhere.row(),
        }


async def alone(
    core: Core, about: Sequence[About], others: Sequence[Probe], before: Sequence[str], answered: Callable[[], None]
) -> Alone:
    """Asks all of it, sixteen questions at a time."""
    asked = [(one.request, *pair) for one in about for pair in zip(one.asked, one.without, strict=True)]
    loras = _loras(core)
    served, forced = {weight: list[_Asked]() for weight in LEVELS}, {weight: list[_Asked]() for weight in LEVELS}
    for request, probe, without in asked:
        if isinstance(plan := await planned(core, probe.question), Adapted):
            served[max(lora.weight for lora in plan.loras)].append((probe, without, plan))
        if request in loras:
            for weight, chosen in forced.items():
                chosen.append((probe, without, Adapted((Scaled(loras[request], weight),))))
    levels = []
    for weight, chosen in (*served.items(), *forced.items()):
        texts = await said(core, [(probe, plan) for probe, _, plan in chosen], answered)
        levels.append(Level.of(weight, [(probe, without) for probe, without, _ in chosen], texts))
    everything = Adapted(tuple(Scaled(folder) for folder in loras.values()))
    after = await said(core, [(probe, everything) for probe in others], answered)
    return Alone(len(asked), tuple(levels[: len(served)]), tuple(levels[len(served) :]), Kept.of(others, before, after))


def _loras(core: Core) -> dict[str, Path]:
    """The folder of each request's LoRA."""
    enforced = core.enforcer.policies.current.enforced
    found = {id_: (one.artifacts or {}).get("o3") for id_, one in enforced.items()}
    return {id_: artifact.folder for id_, artifact in found.items() if artifact and artifact.folder}
