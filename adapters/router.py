"""Verdict and capabilities in, plans out: the first choice first, ignorance always last.

A touched call is answered by a method that every touched request has an artifact for and that the
engine can honour; where the requests disagree, or a guard could not decide, by ignorance.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

from adapters.base import Adapter, Artifact, Call, Capability, OutOfScope, Pass, Plan
from adapters.ignorance import Ignorance
from guards.base import Hit, Verdict

_SLOW = 0.05  # seconds that one plan may count for: the first loads a model's files


@dataclass(frozen=True, slots=True)
class Enforcement:
    """How one forget request is enforced: its methods, best first, and their artifacts."""

    request: str
    methods: tuple[str, ...] = ()
    artifacts: Mapping[str, Artifact] | None = None


class Router:
    """Chooses. Holds the adapters by method; knows no engine.

    Args:
        adapters: all but ignorance.
        ignorance: the last resort of every touched call.
        gave_up: called with method and reason when an adapter cannot make a plan, so that it is counted.
    """

    def __init__(
        self,
        adapters: Sequence[Adapter],
        ignorance: Ignorance,
        gave_up: Callable[[str, str], None] = lambda method, reason: None,
    ) -> None:
        self._adapters = {adapter.method: adapter for adapter in adapters}
        self._ignorance = ignorance
        self._gave_up = gave_up
        self._takes: dict[str, float] = {}  # seconds that a method's plan lately took

    async def plans(
        self,
        call: Call,
        verdict: Verdict,
        enforced: Mapping[str, Enforcement],
        capabilities: frozenset[Capability],
    ) -> tuple[Plan, ...]:
        """What to try, in order. Never empty; `Pass` alone if and only if nothing is touched."""
        if not verdict.touched:
            return (Pass(),)
        plans: list[Plan] = []
        if not verdict.failures:
            for method in self._shared(verdict, enforced):
                adapter = self._adapters.get(method)
                if adapter is None or not adapter.needs <= capabilities:
                    continue
                artifacts = {hit.request: (enforced[hit.request].artifacts or {})[method] for hit in verdict.hits}
                started = perf_counter()
                try:
                    plans.append(await adapter.plan(call, verdict.hits, artifacts))
                    self._took(method, perf_counter() - started)
                except OutOfScope:
                    self._gave_up(method, "out of scope")
                except Exception:  # whatever an adapter raises, the next one answers; none of its text is shown
                    self._gave_up(method, "no plan")
        plans.append(await self.last_resort(call, verdict.hits))
        return tuple(plans)

    def ahead(self, plan: Plan, methods: frozenset[str], lag: Callable[[str], float]) -> float:
        """Seconds by which an answer under this plan would begin sooner than one under the slowest of the methods.

        Args:
            lag: what an engine adds under a method, see `Engine.lag`.
        """
        slowest = max((self._takes.get(method, 0.0) + lag(method) for method in methods), default=0.0)
        return max(0.0, slowest - self._takes.get(plan.method, 0.0) - lag(plan.method))

    def _took(self, method: str, seconds: float) -> None:
        known = self._takes.get(method, seconds)
        self._takes[method] = known + (min(seconds, _SLOW) - known) / 16

    async def last_resort(self, call: Call, hits: Sequence[Hit] = ()) -> Plan:
        """The plan that every engine can honour: ignorance."""
        return await self._ignorance.plan(call, hits, {})

    @staticmethod
    def _shared(verdict: Verdict, enforced: Mapping[str, Enforcement]) -> tuple[str, ...]:
        """The methods that all touched requests have, in the order of the first."""
        known = [enforced.get(hit.request, Enforcement(hit.request)) for hit in verdict.hits]
        return (
            tuple(method for method in known[0].methods if all(method in (one.artifacts or {}) for one in known))
            if known
            else ()
        )
