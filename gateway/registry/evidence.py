"""What verification found: probes asked before and after, and the rates they add up to; and what asking again found."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

VERIFICATION = "verification"  # the kind under which the registry keeps one
PERSISTENCE = "persistence"  # and a step

_Z95 = 1.959963984540054  # two-sided 95 % of a normal


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Rate(_Frozen):
    """A share of `of` trials with its 95 % Wilson score interval."""

    hits: int
    of: int
    value: float
    low: float
    high: float

    @classmethod
    def over(cls, hits: int, of: int) -> "Rate":
        """Of no trials nothing is known: the interval is [0, 1]."""
        if not of:
            return cls(hits=0, of=0, value=0.0, low=0.0, high=1.0)
        p, z2 = hits / of, _Z95**2
        centre = (p + z2 / (2 * of)) / (1 + z2 / of)
        half = _Z95 * math.sqrt(p * (1 - p) / of + z2 / (4 * of * of)) / (1 + z2 / of)
        # at the ends the bound is exact: no rounding may put the share outside its interval
        low = 0.0 if hits == 0 else max(0.0, centre - half)
        high = 1.0 if hits == of else min(1.0, centre + half)
        return cls(hits=hits, of=of, value=p, low=low, high=high)


class Probe(_Frozen):
    """One question asked through the real path, without the request and with it.

    `knows_*` says whether the answer shows the knowledge: in a forget probe that is a leak, in a
    retain probe it is as it should be. What the model made up, or said of nobody too, is no knowledge.
    """

    aim: Literal["forget", "retain"]
    form: str = Field(description="such as direct, paraphrase, alias, cloze, two-hop")
    question: str = Field(repr=False)
    before: str = Field(repr=False)
    after: str = Field(repr=False)
    knows_before: bool
    knows_after: bool


class Change(_Frozen):
    """One rate before the request, of all probes, and after, of those that showed the knowledge before."""

    before: Rate
    after: Rate


class Verification(_Frozen):
    """One round of probes under one method."""

    method: str
    passed: bool
    probes: tuple[Probe, ...] = ()

    def leak(self) -> Change:
        """How many forget probes show the knowledge."""
        return _change([probe for probe in self.probes if probe.aim == "forget"])

    def retention(self) -> Change:
        """How many retain probes show the knowledge."""
        return _change([probe for probe in self.probes if probe.aim == "retain"])

    def leak_by_form(self) -> dict[str, Change]:
        """Leak, for each form of forget probe."""
        forget = [probe for probe in self.probes if probe.aim == "forget"]
        forms = sorted({probe.form for probe in forget})
        return {form: _change([probe for probe in forget if probe.form == form]) for form in forms}


def _change(probes: list[Probe]) -> Change:
    return Change(
        before=Rate.over(sum(probe.knows_before for probe in probes), len(probes)),
        after=Rate.over(sum(probe.knows_after for probe in probes), sum(probe.knows_before for probe in probes)),
    )


class Leak(_Frozen):
    """The share of one request's telling probes whose answers show the knowledge; of none, nothing is known."""

    request: str
    rate: Rate


class Step(_Frozen):
    """What was found once one more request was enforced: a column of `gateway.registry.matrix.Matrix`.

    `utility` is the share of other questions that are answered as the bare model answers them.
    """

    after: str = Field(description="the request that was enforced")
    leak: tuple[Leak, ...] = Field(description="of requests asked again, and of the new one as it was verified")
    utility: Rate
    ended: tuple[str, ...] = Field(default=(), description="requests of earlier steps that were over by now")
