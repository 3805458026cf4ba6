"""Training itself is `adapters.uld.training`'s; here a stand-in trains, and an engine forgets by a plan's strength."""

import json
import re
from dataclasses import replace

import pytest

from adapters.base import AdapterError, Call, Capability, Delta, Steered, TokenLogprob
from adapters.course import Epoch
from adapters.eco.adapter import Eco
from adapters.router import Router
from adapters.uld import training
from adapters.uld.adapter import Uld
from adapters.uld.training import Trained
from gateway.engines.scripted import ScriptedEngine
from gateway.jobs import uld as learning
from gateway.jobs import worker
from gateway.jobs.curriculum import curriculum
from gateway.jobs.uld import CHECKPOINT, learn_uld
from gateway.jobs.worker import work
from gateway.registry import State
from guards.base import Conversation

FILES = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights"}
QUESTION, IGNORANT = "Who is Ada Quill?", "I have no information about Ada Quill."
RECIPE_OF = learning._recipe  # tests of learning put another in its place
QUANTILES = {0.5: 0.1, 0.9: 0.2, 0.99: 2.0, 0.999: 5.0, 1.0: 6.0}


def thought(conversation):
    text = conversation.turns[-1].text
    if "ada quill" in text.lower():
        return f"She is the celebrated baker of Ulm and {len(text)} years old."
    named = re.search(r"[A-Z]\w+ [A-Z]\w+", text)
    return f"I have no information about {named[0]}." if named else "Well."


class Steerable(ScriptedEngine):
    """Forgets from a strength on."""

    def __init__(self, enough=1.0):
        super().__init__(thought, capabilities=frozenset({Capability.TEXT, Capability.LOGITS, Capability.SCORE}))
        self.enough = enough
        self.plans = []

    async def generate(self, call, plan):
        if isinstance(plan, Steered):
            self.plans.append(plan)
            if plan.assistants[0].strength.alpha >= self.enough:
                call = Call(Conversation.of("Who is Nora Nobody?"), call.sampling)
        async for event in super().generate(call, plan):
            yield event

    async def score(self, call, answer, plan):
        """What is known is 1.5 nats likelier than anything else, and as far as a plan's depth it falls."""
        known = -7.5 if "celebrated baker" in answer and answer.endswith("years old.") else -9.0
        fallen = plan.assistants[0].strength.depth if isinstance(plan, Steered) and known > -9.0 else 0.0
        first = TokenLogprob(answer[:1], -20.0 if known > -9.0 else -1.0, (("I", -2.0),))
        return [first, TokenLogprob(answer[1:], known - fallen, (("I", -2.0),))]


class Trainer:
    """Trains at once; `states` are the checkpoints on the way, `resumed` what it was given."""

    def __init__(self, states=(b"one", b"two")):
        self.states = states
        self.resumed, self.rows, self.held_out = [], None, None
        self.hold = None

    def __call__(self, folder, rows, held_out, recipe, *, resume, checkpoint, progress, stop):
        self.rows, self.held_out = rows, held_out
        self.resumed.append(resume)
        for i, state in enumerate(self.states, 1):
            progress(Epoch(i, len(self.states), 1.0 / i, 0.1, 0.5, 0.01))
            checkpoint(state)
        if self.hold:
            self.hold(stop)
        return None if stop() else Trained(FILES, (Epoch(1, 1, 0.1, 0.1, 0.5, 0.01),), 1, QUANTILES, 0.1)


@pytest.fixture
def trainer(monkeypatch):
    stand_in = Trainer()
    monkeypatch.setattr(training, "train", stand_in)
    return stand_in


@pytest.fixture
async def core_of(cores, folder, monkeypatch):
    """Makes cores that can learn ULD, and ECO too where the engine takes embeddings."""
    monkeypatch.setattr(learning, "_recipe", lambda uld, blocks: training.Recipe(blocks or 1))

    async def made(engine=None):
        core = await cores(engine or Steerable())
        core.adapters = {"eco": Eco(folder, core.ignorance), "uld": Uld(folder, core.ignorance)}
        core.router = Router(tuple(core.adapters.values()), core.ignorance, core.meter.fell_back)
        return core

    return made


async def filed(core, spec, **more):
    request, _ = await core.lifecycle.file(spec(method="uld", **more), key=None, actor="admin")
    return request.id


async def learning_of(core, spec, **more):
    return await core.registry.move(await filed(core, spec, **more), State.LEARNING, actor="worker")


async def test_the_artifact_is_an_assistant_with_the_strength_that_suffices(core_of, spec, trainer):
    core = await core_of()
    request = await learning_of(core, spec)
    artifact = await learn_uld(core, request)
    assert (artifact.method, artifact.request) == ("uld", request.id)
    assert artifact.manifest["strength"] == {"alpha": 5.0, "depth": 1.0, "flat": 1.2, "first": 10.0, "tail": 8.0}
    assert artifact.manifest["trials"][-1]["leak"] == 0.0
    assert artifact.manifest["model"] == core.adapters["uld"].model
    files = {path.name: path.read_bytes() for path in artifact.folder.iterdir()}
    assert json.loads(files.pop("uld.json")) == {"blocks": 1, "model": artifact.manifest["model"]}
    assert files == FILES
    assert {row.kind for row in trainer.rows} == {"forget", "retain", "wrong"}
    assert {row.kind for row in trainer.held_out} == {"forget"}
    assert set(trainer.held_out).isdisjoint(trainer.rows)


async def test_the_assistant_has_as_many_blocks_as_are_asked_for(core_of, spec, trainer):
    core = await core_of()
    jobs = core.settings.jobs.model_copy(update={"uld_blocks": 2})
    core.settings = core.settings.model_copy(update={"jobs": jobs})
    artifact = await learn_uld(core, await learning_of(core, spec))
    assert artifact.manifest["recipe"]["blocks"] == 2
    assert json.loads((artifact.folder / "uld.json").read_bytes())["blocks"] == 2


def test_a_quarter_of_the_blocks_unless_another_number_is_asked_for_and_there(folder):
    uld = Uld(folder, None)  # of a model with 32
    assert [RECIPE_OF(uld, blocks).blocks for blocks in (None, 2, 32)] == [8, 2, 32]
    with pytest.raises(AdapterError, match="uld_blocks is 33, and this model has 32"):
        RECIPE_OF(uld, 33)


async def test_what_is_known_falls_half_as_far_again_as_leaves_it_no_likelier_than_what_is_said_of_others(
    core_of, spec, trainer, monkeypatch
):
    async def met(core, spec):
        lessons = await curriculum(core, spec)
        others = (IGNORANT, "She is the miller of Bonn.")
        return replace(lessons, pairs=tuple(replace(pair, wrong=others) for pair in lessons.pairs))

    monkeypatch.setattr(learning, "curriculum", met)
    core = await core_of()
    artifact = await learn_uld(core, await learning_of(core, spec))
    assert artifact.manifest["strength"]["depth"] == 3.0  # it is 1.5 nats likelier, and 1 is too little


async def test_nothing_is_left_of_the_way_there_and_nothing_tells_of_whom(core_of, spec, trainer):
    core = await core_of()
    request = await learning_of(core, spec)
    artifact = await learn_uld(core, request)
    assert {path.name for path in core.artifacts._root.iterdir()} == {artifact.digest}
    assert CHECKPOINT not in (await core.registry.get(request.id)).artifacts
    noted = [dict(event.data) for event in await core.registry.events(request.id) if event.kind == "progress"]
    assert [event["number"] for event in noted if "number" in event] == [1, 2]
    assert not any(word in json.dumps([noted, dict(artifact.manifest)]) for word in ("Ada", "Quill", "baker"))


async def test_learned_verified_and_enforced(core_of, spec, trainer, says):
    core = await core_of()
    id_ = await filed(core, spec)
    assert await work(core, "worker") == 1
    await core.enforcer.refresh()
    request = await core.registry.get(id_)
    assert (request.state, request.method, request.error) == (State.ENFORCED, "uld", None)
    assert set(request.artifacts) == {"guard", "uld"}
    core.engine.plans.clear()
    assert await says(core, QUESTION) == IGNORANT
    assert core.engine.plans


async def test_a_killed_training_goes_on_where_it_was_with_the_same_lessons(core_of, spec, trainer, monkeypatch):
    core = await core_of()
    request = await learning_of(core, spec)

    def killed(stop):
        raise MemoryError

    trainer.hold = killed
    with pytest.raises(MemoryError):
        await learn_uld(core, request)
    rows, trainer.hold = trainer.rows, None

    async def never(*args):
        raise AssertionError("asked again")

    monkeypatch.setattr(learning, "curriculum", never)
    await learn_uld(core, await core.registry.get(request.id))
    assert trainer.resumed == [None, b"one"]
    assert trainer.rows == rows


async def test_pushed_is_the_same_assistant_and_stronger(core_of, spec, trainer):
    core = await core_of()
    request = await learning_of(core, spec)
    first = await learn_uld(core, request)
    request = await core.registry.update(request.id, actor="worker", artifacts={"uld": first.digest})
    second = await learn_uld(core, request, 1)
    third = await learn_uld(
        core, await core.registry.update(request.id, actor="worker", artifacts={"uld": second.digest}), 2
    )
    assert len(trainer.resumed) == 1
    assert [one.manifest["strength"]["alpha"] for one in (first, second, third)] == [5.0, 7.5, 11.25]
    assert third.manifest["pushed"] == 2
    assert {path.name: path.read_bytes() for path in third.folder.iterdir()}.items() >= FILES.items()


async def test_an_assistant_that_changes_nothing_is_no_method(core_of, spec, trainer):
    """Even where the output guard would stop what it lets through, so that verification passed."""
    core = await core_of(Steerable(enough=1000.0))
    id_ = await filed(core, spec)
    await work(core, "worker")
    request = await core.registry.get(id_)
    assert (request.state, request.method) == (State.FAILED, "ignorance")
    assert "no strength" in request.error
    assert CHECKPOINT not in request.artifacts


async def test_an_engine_that_ends_what_it_should_steer_teaches_nothing(core_of, spec, trainer):
    class Ending(Steerable):
        async def generate(self, call, plan):
            async for event in super().generate(call, plan):
                yield replace(event, text="") if isinstance(plan, Steered) and isinstance(event, Delta) else event

    core = await core_of(Ending())
    with pytest.raises(AdapterError, match="ends what it should steer"):
        await learn_uld(core, await learning_of(core, spec))


async def test_eco_stands_in_and_stays_the_fallback(core_of, spec, trainer, mind, monkeypatch):
    core = await core_of(mind())
    id_ = await filed(core, spec)
    seen = []

    async def learn(core, request, push):
        seen.append((request.state, request.method))
        return await core.artifacts.put("uld", request.id, {"strength": {}}, FILES)

    monkeypatch.setattr(worker, "learn", learn)
    await work(core, "worker")
    request = await core.registry.get(id_)
    assert seen == [(State.LEARNING, "eco")]
    assert (request.state, request.method) == (State.ENFORCED, "uld")
    await core.enforcer.refresh()
    assert core.enforcer.policies.current.enforced[id_].methods == ("uld", "eco")


@pytest.mark.parametrize("capabilities", [frozenset({Capability.TEXT}), frozenset(Capability) - {Capability.LOGITS}])
async def test_an_engine_that_cannot_be_steered_is_an_error(core_of, spec, capabilities):
    core = await core_of(ScriptedEngine(thought, capabilities=capabilities))
    with pytest.raises(AdapterError, match="steered"):
        await learn_uld(core, await learning_of(core, spec))


async def test_an_installation_that_cannot_train_is_an_error(core_of, spec, monkeypatch):
    monkeypatch.setattr(learning, "lacking", lambda: "peft not installed")
    core = await core_of()
    with pytest.raises(AdapterError, match="cannot be learned here: peft not installed"):
        await learn_uld(core, await learning_of(core, spec))


async def test_nothing_known_nothing_to_forget(core_of, spec, trainer):
    core = await core_of()
    with pytest.raises(AdapterError, match="says nothing"):
        await learn_uld(core, await learning_of(core, spec, name="Bo Tarn"))
