from pathlib import Path
from types import SimpleNamespace

from adapters.base import Adapted, Artifact, Delta, Pass, Scaled
from adapters.o3.adapter import LEVELS
from adapters.router import Enforcement
from bench.o3.alone import About, Level, alone
from gateway.demo.forms import Probe


class Engine:
    """Says whose LoRAs it wears, and how much of them."""

    capabilities = frozenset()

    async def generate(self, call, plan):
        yield Delta(0, " ".join(f"{one.folder.name} {one.weight}" for one in plan.loras))


class Core:
    """Ann and Bob are forgotten by O3, Eve by something else; the detector gives Bob's prompts half."""

    def __init__(self, forgotten="ann bob"):
        made = {id_: {"o3": Artifact("", "o3", id_, {}, Path(id_))} for id_ in forgotten.split()}
        enforced = {id_: Enforcement(id_, ("o3",), found) for id_, found in made.items()} | {"eve": Enforcement("eve")}
        self.enforcer = SimpleNamespace(
            policies=SimpleNamespace(current=SimpleNamespace(guards=self, enforced=enforced))
        )
        self.router, self.engine = self, Engine()

    async def classify(self, conversation):
        return conversation.turns[-1].text

    async def plans(self, call, verdict, enforced, capabilities):
        served = {"ann?": Adapted((Scaled(Path("ann")),)), "bob?": Adapted((Scaled(Path("bob"), LEVELS[0]),))}
        return (served.get(verdict, Pass()),)


def about(name, gold, without):
    return About(name, [Probe("trained", f"{name}?", gold, gold, (name,)), Probe("alias", "?", gold, gold)], without)


OTHERS = [Probe("trained", "hello?", "", "bob"), Probe("trained", "bye?", "", "oslo")]
BEFORE = ["bob", "oslo"]


async def test_served_as_planned_and_forced_at_every_level():
    answered = []
    asked = [about("ann", "ann", ["ann", "?"]), about("bob", "Ulm", ["?", "?"]), about("eve", "eve", ["?", "?"])]
    found = await alone(Core(), asked, OTHERS, BEFORE, lambda: answered.append(1))
    assert found.asked == 6
    assert found.planned == 2 / 6
    assert found.served == (Level(LEVELS[0], 1, 0, 0), *(Level(w, 0, 0, 0) for w in LEVELS[1:-1]), Level(1.0, 1, 1, 1))
    assert found.excess == 0.0
    assert found.forced == tuple(Level(weight, 4, 2, 1) for weight in LEVELS)  # Eve has no LoRA
    assert found.everywhere.share == 0.5
    assert found.everywhere.unchanged == 0.0
    assert len(answered) == 2 + 4 * len(LEVELS) + 2
    assert found.row()["served"][0] == {"weight": LEVELS[0], "asked": 1, "leak": 0.0}


async def test_what_plans_nothing_leaks_all():
    found = await alone(Core(""), [about("eve", "eve", ["?", "?"])], OTHERS, BEFORE, lambda: None)
    assert (found.planned, found.excess) == (0.0, 1.0)
    assert found.row()["forced"][0]["leak"] is None
