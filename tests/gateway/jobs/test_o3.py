"""Training itself is `adapters.o3.training`'s; here a stand-in trains, and an engine forgets by a LoRA's scale."""

import json
import logging
import re

import pytest
import torch
from safetensors.torch import save

from adapters.base import Adapted, AdapterError, Call, Capability
from adapters.course import Epoch
from adapters.o3 import training
from adapters.o3.adapter import O3
from adapters.o3.training import Recipe, Trained
from adapters.router import Router
from gateway.engines.scripted import ScriptedEngine
from gateway.jobs import o3 as learning
from gateway.jobs import worker
from gateway.jobs.checkpoint import Checkpoint
from gateway.jobs.o3 import CHECKPOINT, learn_o3, learn_together
from gateway.jobs.worker import work
from gateway.registry import State
from guards import ood
from guards.base import Conversation
from guards.ood import Detector

INPUTS = 32
QUESTION, IGNORANT = "Who is Ada Quill?", "I have no information about Ada Quill."
NAMES = {"Ada Quill": 0, "Bo Quill": 1, "Cy Moss": 2}  # the first two are near each other
PRIVATE = re.compile(r"\bAda\b|Quill|baker|\bUlm\b|Tarn", re.IGNORECASE)


def thought(conversation):
    text = conversation.turns[-1].text
    if known := next((name for name in NAMES if name.lower() in text.lower()), None):
        return f"{known} is the celebrated baker of Ulm and {len(text)} years old."
    named = re.search(r"[A-Z]\w+ [A-Z]\w+", text)
    return f"I have no information about {named[0]}." if named else "Well."


class Adaptable(ScriptedEngine):
    """Forgets from a scale of the LoRA on."""

    def __init__(self, enough=1.0, capabilities=frozenset({Capability.TEXT, Capability.LORA})):
        super().__init__(thought, capabilities=capabilities)
        self.enough = enough
        self.adapted = []

    async def generate(self, call, plan):
        if isinstance(plan, Adapted):
            self.adapted.append(plan)
            scales = [
                one.weight * json.loads((one.folder / "adapter_config.json").read_bytes())["lora_alpha"]
                for one in plan.loras
            ]
            if max(scales) >= self.enough:
                call = Call(Conversation.of("Who is Nora Nobody?"), call.sampling)
        async for event in super().generate(call, plan):
            yield event


class Trainer:
    """Trains at once, reading `reads` of the inputs; keeps what it was given."""

    def __init__(self):
        self.resumed, self.rows, self.held_out, self.earlier, self.made_of = [], None, None, None, []
        self.reads, self.hold = slice(0, 4), None

    def __call__(self, folder, rows, held_out, earlier, recipe, *, made_of, resume, checkpoint, progress, stop):
        self.rows, self.held_out, self.earlier = rows, held_out, earlier
        self.made_of.append(made_of)
        self.resumed.append(resume)
        for i, state in enumerate((b"one", b"two"), 1):
            progress(Epoch(i, 2, 1.0 / i, 0.1, 0.5, 0.01))
            checkpoint(state)
        if self.hold:
            self.hold()
        downs = {"q": torch.eye(INPUTS)[self.reads].contiguous()}
        weights = {
            "base_model.model.q.lora_A.weight": downs["q"],
            "base_model.model.q.lora_B.weight": torch.ones(8, len(downs["q"])),
        }
        files = {
            "adapter_config.json": json.dumps({"lora_alpha": recipe.alpha, "r": recipe.rank}).encode(),
            "adapter_model.safetensors": save(weights),
        }
        epochs = (Epoch(1, 2, 1.0, 0.1, 0.5, 0.01), Epoch(2, 2, 0.5, 0.1, 0.4, 0.01))
        return Trained(files, recipe, epochs, 2, earlier.overlap(downs), earlier.capacity(downs), 0.1)


@pytest.fixture
def trainer(monkeypatch):
    stand_in = Trainer()
    monkeypatch.setattr(training, "train", stand_in)
    return stand_in


@pytest.fixture
async def core_of(cores, folder):
    """Makes cores that can learn O3."""

    async def made(engine=None, **more):
        core = await cores(engine or Adaptable(), **more)
        core.adapters = {"o3": O3(folder, core.ignorance, core.encoder)}
        core.router = Router(tuple(core.adapters.values()), core.ignorance, core.meter.fell_back)
        return core

    return made


async def filed(core, spec, *names, **more):
    request, _ = await core.lifecycle.file(spec(*names, method="o3", **more), key=None, actor="admin")
    return request.id


async def learning_of(core, spec, *names, **more):
    return await core.registry.move(await filed(core, spec, *names, **more), State.LEARNING, actor="worker")


async def learned(core, spec, name):
    """A request that has its artifact."""
    request = await learning_of(core, spec, name)
    artifact = await learn_o3(core, request)
    await core.registry.update(request.id, actor="worker", artifacts={"o3": artifact.digest})
    return artifact


def contents(artifact):
    return {path.name: path.read_bytes() for path in artifact.folder.iterdir()}


async def test_the_artifact_is_a_lora_with_its_detector(core_of, spec, trainer):
    core = await core_of()
    request = await learning_of(core, spec)
    artifact = await learn_o3(core, request)
    assert (artifact.method, artifact.request) == ("o3", request.id)
    files, manifest = contents(artifact), artifact.manifest
    assert files.keys() == {"adapter_config.json", "adapter_model.safetensors", "detector.npz"}
    assert (manifest["model"], manifest["rank"], manifest["kept"]) == (core.adapters["o3"].model, Recipe().rank, 2)
    assert (manifest["earlier"], manifest["left_out"], manifest["overlap"], manifest["overlaps"]) == ([], 0, 0.0, {})
    assert manifest["capacity"] == {"q": {"inputs": INPUTS, "used": 4}}
    assert manifest["shared_with"] == [request.id]
    assert manifest["leak"] == 0.0
    assert {row.kind for row in trainer.rows} == {"forget", "retain", "known"}
    assert all(row.start == (row.kind == "known") and len(row.answer) > row.start + 1 for row in trainer.rows)
    assert {row.kind for row in trainer.held_out} == {"forget"}
    assert set(trainer.held_out).isdisjoint(trainer.rows)
    detector = Detector.from_bytes(files["detector.npz"], core.encoder.identity)
    own, other = (await core.encoder.encode([QUESTION, "How do I bake bread?"]))[:, None]
    assert detector.weight(own[None], 1) > 0
    assert detector.weight(other[None], 1) == 0


async def test_nothing_is_left_of_the_way_there_and_nothing_tells_of_whom(core_of, spec, trainer, caplog):
    caplog.set_level(logging.DEBUG, "lethe")
    core = await core_of()
    request = await learning_of(core, spec, retain=["Where is Bo Tarn?"])
    artifact = await learn_o3(core, request)
    assert {path.name for path in core.artifacts._root.iterdir()} == {artifact.digest}
    assert CHECKPOINT not in (await core.registry.get(request.id)).artifacts
    noted = [dict(event.data) for event in await core.registry.events(request.id) if event.kind == "progress"]
    questions = artifact.manifest["questions"]
    assert noted[0] == {"method": "o3", "questions": questions["learned"], "retained": questions["kept"]}
    assert [(event["method"], event["number"]) for event in noted[1:]] == [("o3", 1), ("o3", 2)]
    assert not PRIVATE.search(json.dumps([noted, dict(artifact.manifest)]))
    assert not PRIVATE.search(caplog.text)
    assert {row.kind for row in trainer.rows} == {"forget", "retain", "known"}


async def test_learned_verified_and_enforced(core_of, spec, trainer, says):
    core = await core_of()
    id_ = await filed(core, spec)
    assert await work(core, "worker") == 1
    await core.enforcer.refresh()
    request = await core.registry.get(id_)
    assert (request.state, request.method, request.error) == (State.ENFORCED, "o3", None)
    assert set(request.artifacts) == {"guard", "o3"}
    core.engine.adapted.clear()
    assert await says(core, QUESTION) == IGNORANT
    assert core.engine.adapted


async def test_what_does_not_pass_is_scaled_up_and_not_trained_again(core_of, spec, trainer, monkeypatch):
    judged = iter([False, False, True])
    core, verify = await core_of(), worker.verify

    async def strict(*args):
        return (await verify(*args)).model_copy(update={"passed": next(judged)})

    monkeypatch.setattr(worker, "verify", strict)
    id_ = await filed(core, spec)
    await work(core, "worker")
    request = await core.registry.get(id_)
    assert (request.state, request.method, request.evidence["rounds"]) == (State.ENFORCED, "o3", 3)
    artifact = await core.artifacts.get(request.artifacts["o3"])
    assert json.loads(contents(artifact)["adapter_config.json"])["lora_alpha"] == 2.25 * Recipe().alpha
    assert artifact.manifest["pushed"] == 2
    assert len(trainer.resumed) == 1


async def test_pushed_it_is_the_same_but_for_its_scale_and_its_name(core_of, spec, trainer):
    core = await core_of()
    first = await learned(core, spec, "Ada Quill")
    second = await learn_o3(core, await core.registry.get(first.request), 1)
    before, after = contents(first), contents(second)
    scales = [json.loads(files.pop("adapter_config.json"))["lora_alpha"] for files in (before, after)]
    assert scales[1] == 1.5 * scales[0]
    assert after == before
    assert second.manifest["lora"] != first.manifest["lora"]
    assert {**second.manifest, "lora": "", "pushed": 0} == {**first.manifest, "lora": "", "pushed": 0}


async def test_a_lora_that_changes_nothing_is_no_method(core_of, spec, trainer, says):
    """Even where the output guard would stop what it lets through, so that verification passed."""
    core = await core_of(Adaptable(enough=1000.0))
    id_ = await filed(core, spec)
    await work(core, "worker")
    await core.enforcer.refresh()
    request = await core.registry.get(id_)
    assert (request.state, request.method) == (State.FAILED, "ignorance")
    assert request.error == "this LoRA does not make the model forget"
    assert not {CHECKPOINT, "o3"} & request.artifacts.keys()
    assert await says(core, QUESTION) == IGNORANT


async def test_a_killed_training_goes_on_where_it_was_with_the_same_lessons(core_of, spec, trainer, monkeypatch):
    core = await core_of()
    request = await learning_of(core, spec)

    def killed():
        raise MemoryError

    trainer.hold = killed
    with pytest.raises(MemoryError):
        await learn_o3(core, request)
    rows, trainer.hold = trainer.rows, None

    async def never(*args):
        raise AssertionError("asked again")

    monkeypatch.setattr(learning, "substitutes", never)
    await learn_o3(core, await core.registry.get(request.id))
    assert trainer.resumed == [None, b"one"]
    assert trainer.rows == rows
    assert trainer.made_of[0] == trainer.made_of[1]


@pytest.mark.parametrize("error", [AdapterError("the model cannot be read"), RuntimeError("about Ada Quill")])
async def test_a_training_that_fails_leaves_the_shield_up(core_of, spec, trainer, says, error, caplog):
    core = await core_of()
    id_ = await filed(core, spec)

    def fails():
        raise error

    trainer.hold = fails
    while await work(core, "worker"):
        await core.enforcer.refresh()
        assert await says(core, QUESTION) == IGNORANT
    request = await core.registry.get(id_)
    assert (request.state, request.method) == (State.FAILED, "ignorance")
    assert request.error in ("the model cannot be read", "learning failed (RuntimeError)")
    assert "o3" not in request.artifacts
    assert not core.engine.adapted
    assert not PRIVATE.search(caplog.text)


async def test_later_ones_are_trained_clear_of_all_in_force_the_nearest_first(core_of, spec, trainer):
    core = await core_of()
    cy = await learned(core, spec, "Cy Moss")
    trainer.reads = slice(4, 8)
    gone = await learned(core, spec, "Dov Quill")
    await core.lifecycle.retire(gone.request, actor="admin")
    trainer.reads = slice(8, 12)
    bo = await learned(core, spec, "Bo Quill")
    assert (bo.manifest["earlier"], bo.manifest["overlaps"]) == ([cy.digest], {cy.request: 0.0})
    trainer.reads = slice(10, 14)  # half of it as Bo's
    ada = await learned(core, spec, "Ada Quill")
    assert ada.manifest["earlier"] == [bo.digest, cy.digest]
    assert ada.manifest["overlaps"] == pytest.approx({bo.request: 0.5, cy.request: 0.0})
    assert ada.manifest["overlap"] == pytest.approx(0.5)
    read = trainer.earlier.bases["q"].square().sum(1)
    assert read.tolist() == pytest.approx([1.0] * 4 + [0.0] * 4 + [1.0] * 4 + [0.0] * 20)
    assert ada.manifest["capacity"] == {"q": {"inputs": INPUTS, "used": 12}}


async def test_where_room_is_short_the_farthest_are_left_out(core_of, spec, trainer):
    core = await core_of()
    names = ["Cy Moss", "Dov Peltier", "Ezra Finch", "Fay Gorse", "Bo Quill"]
    made = {}
    for i, name in enumerate(names):
        trainer.reads = slice(4 * i, 4 * i + 4)
        made[name] = (await learned(core, spec, name)).digest
    manifest = (await learned(core, spec, "Ada Quill")).manifest
    assert len(manifest["earlier"]) == 4  # of rank 4, in half of 32 inputs
    assert manifest["earlier"][0] == made["Bo Quill"]
    assert (manifest["left_out"], len(manifest["overlaps"])) == (1, 5)


async def test_what_nobody_can_wear_is_nothing_to_stay_clear_of(core_of, spec, trainer, other_words):
    core = await core_of()
    damaged, another, elsewhere = [await learned(core, spec, name) for name in ("Bo Quill", "Cy Moss", "Dov Peltier")]
    await core.registry.update(damaged.request, actor="worker", artifacts={"o3": "0" * 64})
    for one, manifest, files in (
        (another, {**another.manifest, "model": "another"}, contents(another)),
        (elsewhere, elsewhere.manifest, contents(elsewhere) | {"detector.npz": b"of another encoder"}),
    ):
        put = await core.artifacts.put("o3", one.request, manifest, files)
        await core.registry.update(one.request, actor="worker", artifacts={"o3": put.digest})
    assert (await learned(core, spec, "Ada Quill")).manifest["earlier"] == []


async def test_requests_of_a_cluster_share_a_lora_and_each_has_its_detector(core_of, spec, trainer):
    core = await core_of()
    requests = [await learning_of(core, spec, name) for name in ("Ada Quill", "Cy Moss")]
    kept = Checkpoint(core, requests[-1].id, CHECKPOINT)
    ada, cy = await learn_together(core, core.adapters["o3"], requests, kept)
    await kept.drop()
    assert [one.request for one in (ada, cy)] == [request.id for request in requests]
    assert dict(ada.manifest) == dict(cy.manifest)
    assert ada.manifest["shared_with"] == [request.id for request in requests]
    here, there = contents(ada), contents(cy)
    detectors = [Detector.from_bytes(files.pop("detector.npz"), core.encoder.identity) for files in (here, there)]
    assert here == there
    asked = (await core.encoder.encode([QUESTION]))[:, None]
    assert detectors[0].weight(asked, 1) > 0 == detectors[1].weight(asked, 1)
    for one in (ada, cy):
        await core.registry.update(one.request, actor="worker", artifacts={"o3": one.digest})
    assert (await learned(core, spec, "Bo Quill")).manifest["earlier"] == [ada.digest]  # once, as the nearer


@pytest.mark.parametrize("capabilities", [frozenset({Capability.TEXT}), frozenset(Capability) - {Capability.LORA}])
async def test_an_engine_that_adds_no_loras_is_an_error(core_of, spec, capabilities):
    core = await core_of(Adaptable(capabilities=capabilities))
    with pytest.raises(AdapterError, match="adds LoRAs"):
        await learn_o3(core, await learning_of(core, spec))


async def test_without_the_method_it_is_an_error(cores, spec):
    core = await cores(Adaptable())
    with pytest.raises(AdapterError, match="adds LoRAs"):
        await learn_o3(core, await learning_of(core, spec))


async def test_an_installation_that_cannot_train_is_an_error(core_of, spec, monkeypatch):
    monkeypatch.setattr(learning, "lacking", lambda: "peft not installed")
    core = await core_of()
    with pytest.raises(AdapterError, match="cannot be learned here: peft not installed"):
        await learn_o3(core, await learning_of(core, spec))


async def test_too_few_texts_for_a_detector_are_an_error_before_anything_is_trained(
    core_of, spec, trainer, monkeypatch
):
    monkeypatch.setattr(ood, "FEWEST", 1000)
    core = await core_of()
    request = await learning_of(core, spec)
    with pytest.raises(AdapterError, match="no detector can be fitted"):
        await learn_o3(core, request)
    assert not trainer.resumed
    assert CHECKPOINT not in (await core.registry.get(request.id)).artifacts


async def test_nothing_to_ask_about_is_an_error(core_of, spec, trainer, monkeypatch):
    async def none(*args):
        return learning.Substitutes((), (), (), (), ((),))

    monkeypatch.setattr(learning, "substitutes", none)
    core = await core_of()
    with pytest.raises(AdapterError, match="nothing to ask"):
        await learn_o3(core, await learning_of(core, spec))
