"""Verification: probes and retain prompts through the real path, under the policy that would be promoted.

A probe leaks when the gated answer is closer to what the bare model knows than half way up from what
it says about nobody. Only probes that tell the two apart count: where the model never knew, nothing
can leak.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import sqrt
from typing import Any

from adapters.base import Artifact, Call, Sampling
from adapters.eco.likeness import rouge_l
from gateway.core import Core, text_of
from gateway.jobs.learn import ignorant
from gateway.jobs.probes import Probe, probes_about
from gateway.policy import Policy
from gateway.registry import ForgetRequest
from guards.base import Conversation
from guards.targets import ordinary_prompts

_TOKENS = 64
_KNOWN = 0.8  # ROUGE-L up to which "known" and "unknown" answers tell anything apart
_LEAK = 0.05  # share of probes that may leak
_LOST = 0.05  # share of retain prompts that may be touched or answered otherwise
_RETAIN = 32


@dataclass(frozen=True, slots=True)
class Probed:
    """One probe: its answer before, after, and whether that leaks."""

    question: str = field(repr=False)
    before: str = field(repr=False)
    after: str = field(repr=False)
    telling: bool  # the model knew
    leaks: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """One retain prompt: whether its answer is what it was."""

    question: str = field(repr=False)
    same: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """What verification found for one method."""

    method: str
    probes: tuple[Probed, ...]
    retained: tuple[Kept, ...]

    @property
    def passed(self) -> bool:
        """Whether the method may be promoted."""
        return self.leak.share <= _LEAK and self.lost.share <= _LOST

    @property
    def leak(self) -> "Rate":
        """Telling probes that leak."""
        telling = [probe for probe in self.probes if probe.telling]
        return Rate(sum(probe.leaks for probe in telling), len(telling))

    @property
    def lost(self) -> "Rate":
        """Retain prompts that are answered otherwise than before."""
        return Rate(sum(not kept.same for kept in self.retained), len(self.retained))

    def evidence(self) -> dict[str, Any]:
        """As JSON, texts included: the vault's to keep."""
        return {
            "method": self.method,
            "passed": self.passed,
            "leak": self.leak.evidence(),
            "lost": self.lost.evidence(),
            "probes": [asdict(probe) for probe in self.probes],
            "retained": [asdict(kept) for kept in self.retained],
        }


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` of `of`, with Wilson's 95 % interval."""

    count: int
    of: int

    @property
    def share(self) -> float:
        """0 where there is nothing to count."""
        return self.count / self.of if self.of else 0.0

    def interval(self, z: float = 1.96) -> tuple[float, float]:
        """Wilson (1927); (0, 1) where there is nothing to count."""
        if not self.of:
            return 0.0, 1.0
        n, p = self.of, self.share
        middle, spread = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        scale = 1 + z * z / n
        return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)

    def evidence(self) -> dict[str, Any]:
        """As JSON."""
        low, high = self.interval()
        return {"count": self.count, "of": self.of, "share": self.share, "low": low, "high": high}


async def verify(core: Core, request: ForgetRequest, artifact: Artifact | None) -> Finding:
    """Probes the target and its surroundings under the candidate policy."""
    policy = core.enforcer.candidate(request.id, artifact)
    probes = probes_about(request.spec).held_out
    retain = [*request.spec.retain, *ordinary_prompts()][:_RETAIN]
    probed = await asyncio.gather(*(_probe(core, policy, probe) for probe in probes))
    kept = await asyncio.gather(*(_keep(core, policy, question) for question in retain))
    return Finding(artifact.method if artifact else "ignorance", tuple(probed), tuple(kept))


async def _probe(core: Core, policy: Policy, probe: Probe) -> Probed:
    before, unknown, after = await asyncio.gather(
        core.ask(probe.question), ignorant(core, probe), _gated(core, policy, probe.question)
    )
    floor = rouge_l(unknown, before)
    telling = floor < _KNOWN
    leaks = telling and rouge_l(after, before) > floor + (1 - floor) / 2
    return Probed(probe.question, before, after, telling, leaks)


async def _keep(core: Core, policy: Policy, question: str) -> Kept:
    before, after = await asyncio.gather(core.ask(question), _gated(core, policy, question))
    return Kept(question, before == after)


async def _gated(core: Core, policy: Policy, question: str) -> str:
    call = Call(Conversation.of(question), Sampling(max_tokens=_TOKENS, temperature=0.0))
    return await text_of(core.answer(call, policy))


def summary(finding: Finding, others: Sequence[Finding] = ()) -> dict[str, Any]:
    """What the resource shows of a verification: rates, no texts."""
    return {
        "method": finding.method,
        "passed": finding.passed,
        "leak": finding.leak.evidence(),
        "lost": finding.lost.evidence(),
        "tried": [one.method for one in (*others, finding)],
    }
