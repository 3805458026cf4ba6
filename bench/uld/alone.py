"""ULD with no output guard and no ignorance behind it: the engine's own answers under its plans.

Questions that the guards find touched are answered under the plan that the router makes. Questions about nobody
who is forgotten are answered under the assistants of all requests at once, though no guard asked for that: what
ULD would cost where it is on for everybody. Forget quality is of the path that `/admin/v1/score` takes.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from adapters.base import Assisted, Call, Engine, Pass, Plan, Sampling, Steered, TokenLogprob
from adapters.router import Enforcement
from bench.alone import planned, said
from bench.history import took
from bench.metrics.truth import forget_quality
from bench.tally import Kept
from bench.truth import Item, truth_ratios
from gateway.core import GREEDY, Core
from gateway.demo.forms import Probe, correct
from gateway.registry import Rate
from guards.base import Conversation

_SCORED = Sampling(temperature=0.0, logprobs=0)


@dataclass(frozen=True, slots=True)
class Learnt:
    """What one assistant took, in seconds: the training, and all of the learning with questions and trials."""

    epochs: int
    training: float
    learning: float


@dataclass(frozen=True, slots=True)
class Quality:
    """Forget quality of the steered model and of the one that forgot nothing, and the medians of truth ratios."""

    items: int
    steered: float
    full: float
    medians: dict[str, float]
    scored_by: dict[str, int]  # answers by method

    @classmethod
    async def of(cls, asked: Sequence[Item], core: Core, retain: Engine) -> "Quality":
        """Scores all items three times."""
        scored_by: Counter[str] = Counter()

        async def steered(question: str, answer: str) -> list[float]:
            method, tokens = await core.score(Call(Conversation.of(question)), answer)
            scored_by[method] += 1
            return _logprobs(tokens)

        ratios = {
            "steered": await truth_ratios(asked, steered),
            "full": await truth_ratios(asked, _bare(core.engine)),
            "retain_model": await truth_ratios(asked, _bare(retain)),
        }
        reference = ratios["retain_model"]
        return cls(
            len(asked),
            forget_quality(ratios["steered"], reference),
            forget_quality(ratios["full"], reference),
            {name: median(found) for name, found in ratios.items()},
            dict(scored_by),
        )


def _bare(engine: Engine) -> Callable[[str, str], Awaitable[list[float]]]:
    async def score(question: str, answer: str) -> list[float]:
        return _logprobs(await engine.score(Call(Conversation.of(question), _SCORED), answer, Pass()))

    return score


def _logprobs(tokens: Sequence[TokenLogprob]) -> list[float]:
    return [token.logprob for token in tokens]


@dataclass(frozen=True, slots=True)
class Alone:
    """One set of people, by ULD alone: the questions that it answered, and how many the retain model gets right."""

    asked: int
    right: int
    right_retain: int
    everywhere: Kept
    quality: Quality
    learnt: tuple[Learnt, ...]

    @property
    def excess(self) -> float:
        """Correct answers above the retain model's, as a share of those asked; all of it where ULD answered none."""
        return (self.right - self.right_retain) / self.asked if self.asked else 1.0

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "forgotten": {
                "asked": self.asked,
                "after": Rate.over(self.right, self.asked).model_dump(),
                "retain_model": self.right_retain / max(1, self.asked),
            },
            "retained_under_all_assistants": self.everywhere.row(),
            "forget_quality": asdict(self.quality),
            "learning": [asdict(one) for one in self.learnt],
        }


@dataclass(frozen=True, slots=True)
class Asked:
    """Probes about who is forgotten with the retain model's answers, and others with the answers of before."""

    about: Sequence[Probe]
    without: Sequence[str]
    others: Sequence[Probe]
    before: Sequence[str]
    items: Sequence[Item]


async def alone(core: Core, retain: Engine, asked: Asked, answered: Callable[[], None]) -> Alone:
    """Asks all of it, sixteen questions at a time."""
    enforced = core.enforcer.policies.current.enforced
    steered = []
    for probe, without in zip(asked.about, asked.without, strict=True):
        if isinstance(plan := await planned(core, probe.question), Steered):
            steered.append((probe, without, plan))
    texts = await said(core, [(probe, plan) for probe, _, plan in steered], answered)
    everything = await _all(core, enforced)
    after = await said(core, [(probe, everything) for probe in asked.others], answered)
    return Alone(
        len(steered),
        sum(correct(probe, text) for (probe, *_), text in zip(steered, texts, strict=True)),
        sum(correct(probe, without) for probe, without, _ in steered),
        Kept.of(asked.others, asked.before, after),
        await Quality.of(asked.items, core, retain),
        tuple([await _learnt(core, id_, one) for id_, one in enforced.items() if "uld" in (one.artifacts or {})]),
    )


async def _all(core: Core, enforced: Mapping[str, Enforcement]) -> Plan:
    """The assistants of every request; no plan of the router's has so many."""
    call = Call(Conversation.of("Hello."), GREEDY)
    found: list[Assisted] = []
    for id_, one in enforced.items():
        if artifact := (one.artifacts or {}).get("uld"):
            plan = await core.adapters["uld"].plan(call, (), {id_: artifact})
            assert isinstance(plan, Steered)
            found += plan.assistants
    return Steered(tuple(found)) if found else Pass()


async def _learnt(core: Core, id_: str, one: Enforcement) -> Learnt:
    epochs = (one.artifacts or {})["uld"].manifest["epochs"]
    learning = took(await core.registry.events(id_)).learning
    assert learning is not None, "an assistant that nothing learned"
    return Learnt(len(epochs), sum(epoch["seconds"] for epoch in epochs), learning)
