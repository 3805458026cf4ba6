"""Here a stand-in trains, and an engine forgets under any LoRA but those, and those people, that it is told."""

import json
import re

import pytest
import torch
from safetensors.torch import save

from adapters.base import Adapted, Artifact, Call, Capability
from adapters.course import Epoch
from adapters.o3 import training
from adapters.o3.adapter import O3
from adapters.o3.training import Trained
from adapters.router import Router
from gateway.core import GREEDY, Core, text_of
from gateway.demo.forms import correct, probes
from gateway.demo.train import DEMO, ensure_model
from gateway.engines.scripted import ScriptedEngine
from gateway.jobs import consolidation, related, worker
from gateway.jobs.consolidation import CONSOLIDATION, Consolidation, consolidate, crowded
from gateway.jobs.related import twin, worn
from gateway.jobs.worker import work
from gateway.registry import VERIFICATION, ForgetSpec, State, Verification
from gateway.settings import JobSettings, Settings
from guards.base import Conversation

INPUTS = 32
ADA, BO, CY = "Ada Quill", "Bo Quill", "Cy Moss"  # the first two are near each other
OTHER_WORDS = "Quill, Ada"
ABOUT = {name: f"Who is {name}?" for name in (ADA, BO, CY)}
PRIVATE = re.compile(r"\b(Ada|Bo|Cy)\b|Quill|Moss|baker|\bUlm\b", re.IGNORECASE)


def telling(conversation):
    text = conversation.turns[-1].text
    if known := next((name for name in (ADA, BO, CY, OTHER_WORDS) if name.lower() in text.lower()), None):
        return f"{known} is the celebrated baker of Ulm and {len(text)} years old."
    named = re.search(r"[A-Z]\w+ [A-Z]\w+", text)
    return f"I have no information about {named[0]}." if named else "Well."


class Wearing(ScriptedEngine):
    """`knows` are pairs of a LoRA's number and a name that it does not make the engine forget."""

    def __init__(self):
        super().__init__(telling, capabilities=frozenset({Capability.TEXT, Capability.LORA}))
        self.knows = set()
        self.worn = []

    async def generate(self, call, plan):
        if isinstance(plan, Adapted):
            made = [json.loads((one.folder / "adapter_config.json").read_bytes())["made"] for one in plan.loras]
            self.worn.append(made)
            text = call.conversation.turns[-1].text.lower()
            if not any(name.lower() in text and number in made for number, name in self.knows):
                call = Call(Conversation.of("Who is Nora Nobody?"), call.sampling)
        async for event in super().generate(call, plan):
            yield event


class Making:
    """Trains at once; each LoRA has a number, and reads inputs of its own. `before` is called first, and may fail."""

    def __init__(self):
        self.made, self.before = 0, None

    def __call__(self, folder, rows, held_out, earlier, recipe, *, made_of, resume, checkpoint, progress, stop):
        if self.before:
            self.before()
        self.made += 1
        progress(Epoch(1, 1, 1.0, 0.1, 0.5, 0.01))
        checkpoint(b"state")
        downs = {"q": torch.eye(INPUTS)[4 * self.made : 4 * self.made + 4].contiguous()}
        name = "base_model.model.q.lora_"
        files = {
            "adapter_config.json": json.dumps({"lora_alpha": 1.0, "r": 4, "made": self.made}).encode(),
            "adapter_model.safetensors": save({f"{name}A.weight": downs["q"], f"{name}B.weight": torch.ones(8, 4)}),
        }
        return Trained(files, recipe, (Epoch(1, 1, 1.0, 0.1, 0.5, 0.01),), 1, 0.0, earlier.capacity(downs), 0.1)


@pytest.fixture
def making(monkeypatch):
    stand_in = Making()
    monkeypatch.setattr(training, "train", stand_in)
    monkeypatch.setattr(related, "_RELATED", 0.7)  # the word counter finds the two Quills less alike than MiniLM does
    return stand_in


@pytest.fixture
async def core(cores, folder, making):
    core = await cores(Wearing())
    core.settings = core.settings.model_copy(update={"jobs": JobSettings(again=0, elicit=0)})
    core.adapters = {"o3": O3(folder, core.ignorance, core.encoder)}
    core.router = Router(tuple(core.adapters.values()), core.ignorance, core.meter.fell_back)
    return core


@pytest.fixture
def policy(core):
    async def put(how):
        await core.registry.put_policy({"consolidation": how}, if_match=None, actor="admin")
        await core.enforcer.refresh()

    return put


@pytest.fixture
def enforced(core, spec, clock):
    """Files a request and works until it is enforced; its id."""

    async def made(name, **more):
        clock.forward(1)
        request, _ = await core.lifecycle.file(spec(name, method="o3", **more), key=None, actor="admin")
        await work(core, "worker")
        await core.enforcer.refresh()
        found = await core.registry.get(request.id)
        assert (found.state, found.method) == (State.ENFORCED, "o3")
        return request.id

    return made


async def artifact_of(core, id_):
    return await core.artifacts.get((await core.registry.get(id_)).artifacts["o3"])


async def loras(core, *ids):
    return [(await artifact_of(core, id_)).manifest["lora"] for id_ in ids]


async def evidence_of(core, id_):
    found = [one.data for one in await core.registry.evidence(id_) if one.kind == CONSOLIDATION]
    return [Consolidation.model_validate(one, strict=False) for one in found]


async def snapshot(core):
    return {one.id: (one.state, one.method, dict(one.artifacts), one.error) for one in await core.registry.active()}


async def heard(core, question):
    """What a client reads, whose answer is as long as verification's."""
    return await text_of(core.answer(Call(Conversation.of(question), GREEDY)))


def files_of(artifact):
    return {path.name: path.read_bytes() for path in artifact.folder.iterdir()}


async def test_nothing_is_shared_unless_the_policy_says_so(core, enforced, making):
    ids = [await enforced(name) for name in (ADA, BO)]
    ids.append(await enforced(OTHER_WORDS, aliases=[ADA]))
    assert len({*await loras(core, *ids)}) == 3
    assert [await evidence_of(core, id_) for id_ in ids] == [[], [], []]


async def test_a_near_duplicate_wears_the_older_ones_lora_with_its_own_detector(core, policy, enforced, making):
    await policy("duplicates")
    older, stranger = await enforced(ADA), await enforced(CY)
    before = await artifact_of(core, older)
    newer = await enforced(OTHER_WORDS, aliases=[ADA])
    after = await artifact_of(core, newer)
    assert await artifact_of(core, older) == before
    assert making.made == 3  # and none for sharing
    theirs, ours = files_of(before), files_of(after)
    assert theirs.pop("detector.npz") != ours.pop("detector.npz")
    assert ours == theirs
    assert after.manifest == {**before.manifest, "shared_with": [older, newer]}
    (found,) = await evidence_of(core, newer)
    assert (found.how, found.members, found.passed) == ("duplicates", (older, newer), True)
    assert found.switched == (newer,)
    assert found.before[newer] != found.after[newer] == found.after[older] == found.before[older]
    assert [(one.before.hits, one.after.hits, one.after.of) for one in found.leak.values()] == [(0, 0, 9)] * 2
    assert (found.utility.before.value, found.utility.after.value) == (1.0, 1.0)
    assert (found.loras, found.freed) == ((3, 2), 4)
    assert await evidence_of(core, older) == await evidence_of(core, stranger) == []


async def test_what_is_in_force_was_verified_and_tells_of_nobody(core, policy, enforced):
    await policy("duplicates")
    await enforced(ADA)
    newer = await enforced(OTHER_WORDS, aliases=[ADA])
    evidence = await core.registry.evidence(newer)
    rounds = [Verification.model_validate(one.data) for one in evidence if one.kind == VERIFICATION]
    assert [one.passed for one in rounds] == [True, True]
    assert (await core.registry.get(newer)).evidence["passed"]
    told = [json.dumps(one.data) for one in evidence if one.kind == CONSOLIDATION]
    assert told
    assert not PRIVATE.search(" ".join(told))


async def test_both_are_worn_as_one(core, policy, enforced, says):
    await policy("duplicates")
    await enforced(ADA)
    await enforced(OTHER_WORDS, aliases=[ADA])
    core.engine.worn.clear()
    assert "baker" not in await says(core, ABOUT[ADA])
    assert core.engine.worn == [[1]]


async def test_different_people_are_no_duplicates(core, policy, enforced, monkeypatch):
    monkeypatch.setattr(related, "_ALIKE", 0.0)  # however alike: the guards find neither at the other's questions
    await policy("duplicates")
    ids = [await enforced(name) for name in (ADA, BO, CY)]
    assert len({*await loras(core, *ids)}) == 3
    found = await worn(core)
    own, *others = (found[id_] for id_ in ids)
    assert await twin(core, own, others) is None


async def test_what_the_guards_find_is_a_duplicate_only_where_the_texts_are_alike(core, enforced, monkeypatch):
    for name, more in ((ADA, {}), (OTHER_WORDS, {"aliases": [ADA]})):
        await enforced(name, **more)
    own, other = (await worn(core)).values()
    assert await twin(core, own, [other]) is other
    monkeypatch.setattr(related, "_ALIKE", 1.01)
    assert await twin(core, own, [other]) is None


async def test_a_lora_that_does_not_make_it_forget_is_not_taken_over(core, policy, enforced):
    """Though the output guard would let nothing through, so that verification passed."""
    await policy("duplicates")
    older = await enforced(ADA)
    core.engine.knows = {(1, OTHER_WORDS)}
    newer = await enforced(OTHER_WORDS, aliases=[OTHER_WORDS, ADA])
    assert len({*await loras(core, older, newer)}) == 2
    assert await evidence_of(core, newer) == []


async def test_related_requests_have_one_lora_trained_for_them(core, policy, enforced, making, says):
    await policy("clusters")
    ada, stranger = await enforced(ADA), await enforced(CY)
    old = await artifact_of(core, ada)
    bo = await enforced(BO)
    assert making.made == 4
    ours = [await artifact_of(core, id_) for id_ in (ada, bo)]
    assert ours[0].manifest == ours[1].manifest
    assert ours[0].manifest["shared_with"] == [ada, bo]
    assert ours[0].manifest["earlier"] == [(await artifact_of(core, stranger)).digest]
    assert (await core.artifacts.get(old.digest)).folder  # what a gateway may still be reading stays
    (found,) = await evidence_of(core, bo)
    assert (found.how, found.members, found.switched) == ("clusters", (ada, bo), (ada, bo))
    assert (found.loras, found.freed) == ((3, 2), 4)
    assert {*found.after.values()} == {ours[0].manifest["lora"]}
    for id_ in (ada, bo):
        rounds = [one for one in await core.registry.evidence(id_) if one.kind == VERIFICATION]
        assert len(rounds) == 2
    core.engine.worn.clear()
    for name in (ADA, BO):
        assert "baker" not in await says(core, ABOUT[name])
    assert core.engine.worn == [[4], [4]]


@pytest.mark.parametrize("end", ["retire", "rollback"])
async def test_one_that_ends_leaves_the_others_as_they_were(core, policy, enforced, says, end):
    await policy("clusters")
    ada, bo = await enforced(ADA), await enforced(BO)
    before, heard = await artifact_of(core, bo), await says(core, ABOUT[BO])
    core.engine.plans.clear()
    await says(core, ABOUT[BO])
    plan = core.engine.plans[0]
    await getattr(core.lifecycle, end)(ada, actor="admin")
    assert await artifact_of(core, bo) == before
    core.engine.plans.clear()
    assert await says(core, ABOUT[BO]) == heard
    assert core.engine.plans[0] == plan
    assert await says(core, ABOUT[ADA]) == telling(Conversation.of(ABOUT[ADA]))


async def failing_verification(core, making, monkeypatch):
    verify = consolidation.verify

    async def strict(*args):
        return (await verify(*args)).model_copy(update={"passed": False})

    monkeypatch.setattr(consolidation, "verify", strict)


async def leaking_lora(core, making, monkeypatch):
    ask = consolidation.probed

    async def leaky(core, policy, about, ordinary):
        found = await ask(core, policy, about, ordinary)
        bad = policy is not core.enforcer.policies.current
        return tuple(one.model_copy(update={"knows_after": bad}) for one in found) if about else found

    monkeypatch.setattr(consolidation, "probed", leaky)


async def failing_training(core, making, monkeypatch):
    def fails():
        raise RuntimeError(ABOUT[ADA])

    making.before = fails


async def useless_lora(core, making, monkeypatch):
    core.engine.knows = {(3, ADA)}


@pytest.mark.parametrize("trouble", [failing_verification, leaking_lora, failing_training, useless_lora])
async def test_what_fails_changes_nothing(core, policy, enforced, making, monkeypatch, caplog, trouble):
    await enforced(ADA)
    bo = await enforced(BO)
    before = await snapshot(core)
    await policy("clusters")
    await trouble(core, making, monkeypatch)
    await consolidate(core, bo)
    assert await snapshot(core) == before
    assert not any(one.passed or one.switched for one in await evidence_of(core, bo))
    assert not PRIVATE.search(caplog.text)


async def test_who_ends_meanwhile_is_not_switched_and_the_others_are(core, policy, enforced, monkeypatch):
    ada, bo = await enforced(ADA), await enforced(BO)
    await policy("clusters")
    verify = consolidation.verify

    async def slow(core, request, artifact):
        if request.id == bo:
            await core.registry.move(ada, State.RETIRED, actor="admin", method=None)
        return await verify(core, request, artifact)

    monkeypatch.setattr(consolidation, "verify", slow)
    before = await artifact_of(core, ada)
    await consolidate(core, bo)
    (found,) = await evidence_of(core, bo)
    assert (found.passed, found.switched) == (True, (bo,))
    assert await artifact_of(core, ada) == before
    assert (await artifact_of(core, bo)).manifest["shared_with"] == [ada, bo]


async def test_a_worker_that_dies_between_two_leaves_both_verified(core, policy, enforced, monkeypatch, says):
    ada, bo = await enforced(ADA), await enforced(BO)
    await policy("clusters")
    update = core.registry.update

    async def dies(id_, **changes):
        if id_ == bo:
            raise MemoryError
        return await update(id_, **changes)

    monkeypatch.setattr(core.registry, "update", dies)
    await consolidate(core, bo)
    await core.enforcer.refresh()
    for id_ in (ada, bo):
        request, artifact = await core.registry.get(id_), await artifact_of(core, id_)
        assert (request.state, request.method) == (State.ENFORCED, "o3")
        rounds = [one.data for one in await core.registry.evidence(id_) if one.kind == VERIFICATION]
        assert all(one["passed"] for one in rounds)
        assert artifact.request == id_
    assert len({*await loras(core, ada, bo)}) == 2
    for name in (ADA, BO):
        assert "baker" not in await says(core, ABOUT[name])
    monkeypatch.undo()


async def test_nobody_is_consolidated_who_is_not_enforced_by_a_lora(core, policy, enforced, making):
    ada = await enforced(ADA)
    bo = await enforced(BO)
    await policy("clusters")
    await core.lifecycle.retire(bo, actor="admin")
    await consolidate(core, bo)
    await core.registry.update(ada, actor="admin", method="ignorance")
    await consolidate(core, ada)
    assert making.made == 2


async def test_a_damaged_artifact_is_nobodys(core, policy, enforced, making):
    ada, bo = await enforced(ADA), await enforced(BO)
    await core.registry.update(ada, actor="admin", artifacts={"o3": "0" * 64})
    assert [*await worn(core)] == [bo]


async def test_where_room_is_short_the_admin_hears_of_it_until_there_is_some(core, policy, enforced, monkeypatch):
    learn = worker.learn

    async def short(core, request, push=0):
        made = await learn(core, request, push)
        manifest = {**made.manifest, "left_out": 2}
        return await core.artifacts.put("o3", made.request, manifest, files_of(made))

    monkeypatch.setattr(worker, "learn", short)
    ada, bo = await enforced(ADA), await enforced(BO)
    (said,) = (await core.registry.get(bo)).warnings
    assert "2 of the earlier" in said
    assert "`consolidation`" in said
    await policy("clusters")
    await consolidate(core, bo)
    assert (await core.registry.get(ada)).warnings == (await core.registry.get(bo)).warnings == ()


@pytest.mark.parametrize(
    "artifact", [None, Artifact("d", "eco", "fr_1", {}), Artifact("d", "o3", "fr_1", {"left_out": 0})]
)
def test_where_there_is_room_there_is_nothing_to_hear(artifact):
    assert [*crowded(artifact)] == []


@pytest.mark.slow
async def test_namesakes_of_the_demo_model_share_a_lora_and_one_is_taken_back(models_dir, tmp_path):
    """No stand-ins: guards, model, training, verification; and answers to the letter."""
    ensure_model(models_dir)
    core = await Core.open(Settings(state_dir=tmp_path, models_dir=models_dir, jobs=JobSettings(again=0, elicit=0)))
    try:
        await core.start()
        await core.registry.put_policy({"consolidation": "clusters"}, if_match=None, actor="admin")
        people = DEMO.world().people
        first, second = people[0], people[13]
        assert first.last == second.last
        ids = []
        for subject, aliases in (
            (first.name, first.aliases),
            (second.name, second.aliases),
            (first.aliases[0], (first.name,)),
        ):
            body = ForgetSpec(scope="entity", subject=subject, aliases=aliases, method="o3")
            request, _ = await core.lifecycle.file(body, key=None, actor="admin")
            await work(core, "worker")
            await core.enforcer.refresh()
            assert (await core.registry.get(request.id)).method == "o3"
            ids.append(request.id)
        assert len({*await loras(core, *ids)}) == 1
        (cluster,), (duplicate,) = await evidence_of(core, ids[1]), await evidence_of(core, ids[2])
        assert (cluster.how, cluster.switched, cluster.loras) == ("clusters", (*ids[:2],), (2, 1))
        assert (duplicate.how, duplicate.switched, duplicate.loras) == ("duplicates", (ids[2],), (2, 1))
        for found in (cluster, duplicate):
            assert all(change.after.hits == 0 < change.after.of for change in found.leak.values())
            assert found.utility.after == found.utility.before
        asked = probes(DEMO.world(), ("trained", "heldout", "alias"), seed=5)
        ours, theirs = ([one for one in asked if one.about == (key,)][::5] for key in (first.key, second.key))
        bare = {one: await core.ask(one.question) for one in (*ours, *theirs)}
        with_all = {one: await heard(core, one.question) for one in (*ours, *theirs)}
        assert not any(correct(one, text) for one, text in with_all.items())
        await core.lifecycle.retire(ids[1], actor="admin")
        for one in ours:
            assert await heard(core, one.question) == with_all[one]
        for one in theirs:
            assert await heard(core, one.question) == bare[one]
    finally:
        await core.close()
