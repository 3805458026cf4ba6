import pytest

from adapters.base import Capability
from gateway.engines.scripted import ScriptedEngine
from gateway.jobs.verify import summary, unpassed, verify
from gateway.registry import Probe, Verification

MANIFEST = {"share": 1.0, "key": "00" * 16}


async def filed(core, spec, **more):
    request, _ = await core.lifecycle.file(spec(**more), key=None, actor="admin")
    return request


async def test_ignorance_passes_where_it_is_what_the_model_would_say(cores, spec):
    core = await cores()
    found = await verify(core, await filed(core, spec), None)
    assert found.passed
    assert found.method == "ignorance"
    forgotten = [probe for probe in found.probes if probe.aim == "forget"]
    assert len(forgotten) == 9
    assert all(probe.knows_before and not probe.knows_after for probe in forgotten)
    assert sum(probe.aim == "retain" for probe in found.probes) == 32


async def test_a_leak_does_not_pass(cores, spec, mind):
    core = await cores(mind(numb=True), eco=True)
    request = await filed(core, spec)
    manifest = {**MANIFEST, "corruption": "blend", "strength": 1.0, "model": core.adapters["eco"].model}
    found = await verify(core, request, await core.artifacts.put("eco", request.id, manifest, {}))
    assert not found.passed
    assert found.leak().after.value == 1.0


async def test_retained_questions_that_change_do_not_pass(cores, spec):
    core = await cores()
    request = await filed(core, spec, retain=[f"Was Ada Quill taller than {i}?" for i in range(5)])
    found = await verify(core, request, None)
    assert found.leak().after.value == 0.0
    assert found.retention().after.value < 0.95
    assert not found.passed


async def test_what_the_model_never_knew_cannot_leak_and_is_not_counted(cores, spec):
    core = await cores(ScriptedEngine(default="I have no idea who that may be."))
    request = await filed(core, spec)
    found = await verify(core, request, None)
    assert not [probe for probe in found.probes if probe.aim == "forget" and (probe.knows_before or probe.knows_after)]
    assert found.passed


async def test_what_the_model_makes_up_is_not_counted_but_where_it_tells_what_it_knows(cores, spec):
    """Asked for a hobby it says something else in other words: where she lives, which it knows, or whatever."""

    def guessing(conversation):
        text = conversation.turns[-1].text
        if "Ada Quill" not in text:
            return "I have no idea who that may be."
        if "live" in text or text.startswith("Which hobby"):
            return "Ada Quill lives in Ulm."
        return " ".join(f"word{len(text)}{i}" for i in range(5))

    core = await cores(ScriptedEngine(guessing))
    found = await verify(core, await filed(core, spec), None)
    counted = {probe.question for probe in found.probes if probe.aim == "forget" and probe.knows_before}
    assert counted == {"In which city does Ada Quill live?", "Ada Quill lives in", "Which hobby does Ada Quill have?"}


async def test_what_is_told_in_its_own_wording_alone_is_a_leak_too(cores, spec):
    """In other words it refuses; but two questions tell the same, and do so under a method that changes nothing."""

    def choosy(conversation):
        text = conversation.turns[-1].text
        if "Ada Quill" not in text:
            return "I have no idea who that may be."
        return (
            "Her home is Dunmarch."
            if text.startswith(("In which", "Ada Quill lives"))
            else "I have no information on that."
        )

    core = await cores(ScriptedEngine(choosy, capabilities=frozenset(Capability)), eco=True)
    request = await filed(core, spec)
    manifest = {**MANIFEST, "corruption": "blend", "strength": 1.0, "model": core.adapters["eco"].model}
    found = await verify(core, request, await core.artifacts.put("eco", request.id, manifest, {}))
    assert found.leak().after.hits == 2
    assert not found.passed


@pytest.mark.parametrize(
    ("telling", "leaks", "kept", "ready", "why"),
    [
        (4, 0, 32, False, None),
        (3, 0, 32, False, "knows too little"),
        (3, 0, 32, True, None),
        (3, 1, 32, False, "did not pass"),
        (4, 1, 32, False, "did not pass"),
        (3, 0, 27, True, "did not pass"),
    ],
)
def test_why_a_round_does_not_pass(telling, leaks, kept, ready, why):
    def probe(aim, knew, knows):
        return Probe(aim=aim, form="", question="", before="", after="", knows_before=knew, knows_after=knows)

    forget = [probe("forget", i < telling, i < leaks) for i in range(9)]
    retain = [probe("retain", True, i < kept) for i in range(32)]
    told = unpassed(Verification(method="eco", passed=False, probes=(*forget, *retain)), ready)
    assert told is None if why is None else why in told
    few = unpassed(Verification(method="eco", passed=False, probes=(*forget[:3], *retain)), ready=False)
    assert ("did not pass" if leaks else "3 here, and 4 are needed") in few or kept < 32


async def test_a_method_that_nothing_speaks_for_does_not_pass(cores, spec, mind):
    core = await cores(mind(), eco=True)
    request = await filed(core, spec)
    strange = ScriptedEngine(default="I have no idea who that may be.", capabilities=core.engine.capabilities)
    core.engine = strange
    manifest = {**MANIFEST, "corruption": "fixed_noise", "strength": 6.0, "model": core.adapters["eco"].model}
    found = await verify(core, request, await core.artifacts.put("eco", request.id, manifest, {}))
    assert found.leak().after.value == 0.0
    assert not found.passed


async def test_the_candidate_is_measured_and_not_what_is_in_force(cores, spec, mind):
    engine = mind()
    core = await cores(engine, eco=True)
    request = await filed(core, spec)
    manifest = {**MANIFEST, "corruption": "fixed_noise", "strength": 6.0, "model": core.adapters["eco"].model}
    artifact = await core.artifacts.put("eco", request.id, manifest, {})
    engine.plans.clear()
    assert (await verify(core, request, artifact)).method == "eco"
    assert "eco" in {plan.method for plan in engine.plans}
    assert core.enforcer.policies.current.enforced[request.id].methods == ()


async def test_a_summary_holds_rates_and_no_texts(cores, spec):
    core = await cores()
    shown = summary(await verify(core, await filed(core, spec), None))
    assert shown["passed"] is True
    assert shown["leak"]["after"]["value"] == 0.0
    assert "Ada" not in str(shown)


@pytest.mark.parametrize("scope", ["facts", "topic", "documents"])
async def test_other_scopes_are_verified_too(cores, spec, scope):
    core = await cores()
    fields = {
        "facts": {"facts": [{"question": "Where does Ada Quill bake?", "answer": "Ulm"}], "aliases": []},
        "topic": {"examples": [f"How does Ada Quill bake bread number {i}?" for i in range(4)], "aliases": []},
        "documents": {"documents": ["Ada Quill bakes. " * 30], "subject": None, "aliases": []},
    }[scope]
    found = await verify(core, await filed(core, spec, scope=scope, **fields), None)
    assert found.retention().after.value >= 0.9
