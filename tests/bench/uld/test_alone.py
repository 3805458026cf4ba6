import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

from adapters.base import Artifact, Assisted, Delta, Pass, Steered, Strength, TokenLogprob
from adapters.router import Enforcement
from bench.truth import Item
from bench.uld.alone import Asked, alone
from gateway.demo.forms import Probe

START = datetime(2026, 1, 1, tzinfo=UTC)
ITEMS = [Item(f"what is {i}?", "right", ("wrong", "untrue")) for i in range(8)]


class Engine:
    """Says who steers it; a bare one knows what is right."""

    capabilities = frozenset()

    def __init__(self, right):
        self.right = right

    async def generate(self, call, plan):
        yield Delta(0, "+".join(one.folder.name for one in plan.assistants))

    async def score(self, call, answer, plan):
        assert isinstance(plan, Pass)
        return [TokenLogprob("", math.log(self.right if answer == "right" else 0.1))]


class Core:
    """Two requests enforced by ULD and one by something else; `ann` and `bob` are touched."""

    def __init__(self):
        artifacts = {
            id_: {"uld": Artifact("", "uld", id_, {"epochs": [{"seconds": 2.0}] * 3}, Path(id_))}
            for id_ in ("ann", "bob")
        }
        enforced = {id_: Enforcement(id_, ("uld",), found) for id_, found in artifacts.items()}
        policy = SimpleNamespace(guards=self, enforced=enforced | {"eve": Enforcement("eve")})
        self.enforcer = SimpleNamespace(policies=SimpleNamespace(current=policy))
        self.router = self.registry = self
        self.engine, self.adapters = Engine(0.9), {"uld": self}

    async def classify(self, conversation):
        return conversation.turns[-1].text

    async def plans(self, call, verdict, enforced, capabilities):
        found = enforced.get(verdict, Enforcement("")).artifacts
        return (await self.plan(call, (), {verdict: found["uld"]}) if found else Pass(), Pass())

    async def plan(self, call, hits, artifacts):
        return Steered(tuple(Assisted(one.folder, Strength(1.0, 8.0, 0.0)) for one in artifacts.values()))

    async def score(self, call, answer):
        return "uld", [TokenLogprob("", math.log(0.1))]

    async def events(self, id_):
        told = [("learning", 1), ("verifying", 31), ("learning", 40), ("verifying", 99)]
        return tuple(SimpleNamespace(kind=kind, at=START + timedelta(seconds=at)) for kind, at in told)


def about(question, gold):
    return Probe("trained", question, gold, gold, (question,))


async def test_what_uld_answers_and_what_it_does_to_others():
    answered = []
    asked = Asked(
        [about("ann", "ann"), about("bob", "Ulm"), about("eve", "eve")],
        ["no", "Ulm.", "eve"],
        [about("hello", "ann+bob"), about("bye", "bye")],
        ["ann+bob", "bye"],
        ITEMS,
    )
    found = await alone(Core(), Engine(0.1), asked, lambda: answered.append(1))
    assert (found.asked, found.right, found.right_retain, found.excess) == (2, 1, 1, 0.0)  # eve's is not ULD's
    assert (found.everywhere.unchanged, found.everywhere.share) == (0.5, 0.5)  # both assistants, and no third
    assert found.quality.steered == 1.0
    assert found.quality.full < 0.01
    assert found.quality.scored_by == {"uld": 3 * len(ITEMS)}
    assert [(one.epochs, one.training, one.learning) for one in found.learnt] == [(3, 6.0, 30.0)] * 2
    assert len(answered) == 4
