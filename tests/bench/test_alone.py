from pathlib import Path
from types import SimpleNamespace

from adapters.base import Adapted, Delta, Pass, Scaled, Steered
from bench.alone import planned, said
from gateway.core import GREEDY
from gateway.demo.forms import Probe

PROBES = [Probe("trained", f"q{i}", "a", "gold") for i in range(4)]


class Engine:
    """Says under which plan it was asked what."""

    capabilities = frozenset()

    async def generate(self, call, plan):
        assert call.sampling == GREEDY
        yield Delta(0, f"{plan.method}: ")
        yield Delta(0, call.conversation.turns[-1].text)


class Core:
    """Knows one plan for every question, and a second that nobody is to ask for."""

    def __init__(self):
        policy = SimpleNamespace(guards=self, enforced={})
        self.enforcer = SimpleNamespace(policies=SimpleNamespace(current=policy))
        self.router, self.engine = self, Engine()

    async def classify(self, conversation):
        return conversation.turns[-1].text

    async def plans(self, call, verdict, enforced, capabilities):
        return Adapted((Scaled(Path(verdict)),)), Pass()


async def test_the_first_plan_is_the_one_that_the_router_would_try():
    assert await planned(Core(), "q") == Adapted((Scaled(Path("q")),))


async def test_each_probe_is_answered_under_its_plan_in_order():
    done = []
    plans = [Pass(), Steered(()), Pass(), Steered(())]
    texts = await said(Core(), list(zip(PROBES, plans, strict=True)), lambda: done.append(1), at_once=2)
    assert texts == [f"{plan.method}: q{i}" for i, plan in enumerate(plans)]
    assert len(done) == 4
