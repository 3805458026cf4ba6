import asyncio
from collections import Counter
from time import perf_counter

from rich.console import Console
from rich.progress import Progress

from bench.o3.noticed import Answer
from bench.o3.switching import _Story
from gateway.demo.forms import Probe
from gateway.demo.train import DEMO

OTHER = Probe("trained", "Where does Ivo Lund live?", "Ivo Lund lives in Tarn.", "Tarn", ("ivo",))


class Gateway:
    """Scene, worker and Admin API at once. `leaks`: it answers whatever is in force."""

    def __init__(self, leaks=False):
        self.people = [DEMO.world().people[0], DEMO.world().people[1]]
        self.about = {
            one.key: [Probe("trained", f"Where is {one.name}?", "In Ostrel.", "Ostrel", (one.key,))]
            for one in self.people
        }
        self.others, self.before = [OTHER], {OTHER.question: OTHER.answer}
        self.leaks, self.asked, self.ended = leaks, 0, 0
        self.force, self.handed = {}, []

    async def ask(self, probe):
        sent = perf_counter()
        await asyncio.sleep(0)
        self.asked += 1
        forgotten = set(probe.about) & set(self.force.values()) and not self.leaks
        return Answer(probe, sent, perf_counter(), 200, "I do not know." if forgotten else probe.answer)

    async def counted(self, name, label):
        return Counter({"any": self.asked})

    async def hands_over(self, id_, key):
        assert self.force[id_] == key
        self.handed.append(key)
        return perf_counter()

    async def post(self, path, body=None):
        if path == "/forget-requests":
            id_ = str(len(self.handed))
            self.force[id_] = next(one.key for one in self.people if one.name == body["subject"])
            return {"id": id_}
        if path == "/check":
            return {"plan": "o3"}
        del self.force[path.split("/")[2]]
        self.ended += 1
        return {}


async def told(gateway, switches=4):
    with Progress(console=Console(quiet=True)) as bar:
        return await _Story(gateway, gateway, gateway).told(switches, bar)


async def test_requests_come_and_go_by_turns_while_everybody_is_asked_about():
    gateway = Gateway()
    one = await told(gateway)
    first, second = (person.key for person in gateway.people)
    assert gateway.handed == [first, second] * 2
    assert (gateway.ended, gateway.force) == (4, {})
    assert (one.switches, one.failed, one.unclassified, one.told, one.others_changed) == (4, 0, 0, 0, 0)
    assert one.asked == gateway.asked > 4 * 16
    assert min(one.covered, one.told_bare, one.others) > 0


async def test_a_gateway_that_tells_whatever_is_in_force_is_found_out():
    one = await told(Gateway(leaks=True))
    assert one.told == one.covered > 0
