from dataclasses import replace

import pytest

from adapters.base import AdapterError
from gateway.jobs import stopgap as stopgaps
from gateway.jobs.stopgap import raise_stopgap, stopgap
from gateway.registry import VERIFICATION, State

QUESTION, IGNORANT = "Who is Ada Quill?", "I have no information about Ada Quill."


async def learning(core, spec, **more):
    request, _ = await core.lifecycle.file(spec(method="uld", **more), key=None, actor="admin")
    return await core.registry.move(request.id, State.LEARNING, actor="worker")


async def test_eco_enforces_once_it_was_verified_and_until_the_method_is(cores, spec, says):
    core = await cores(eco=True)
    request = await learning(core, spec)
    assert stopgap(request) == "ignorance"
    raised = await raise_stopgap(core, request)
    assert (raised.state, raised.method, stopgap(raised)) == (State.LEARNING, "eco", "eco")
    await core.enforcer.refresh()
    assert core.enforcer.policies.current.enforced[request.id].methods == ("eco",)
    assert await says(core, QUESTION) == IGNORANT
    (evidence,) = [one for one in await core.registry.evidence(request.id) if one.kind == VERIFICATION]
    assert (evidence.data["method"], evidence.data["passed"]) == ("eco", True)


async def test_what_does_not_pass_stands_in_for_nothing(cores, spec, mind):
    core = await cores(mind(numb=True), eco=True)
    request = await learning(core, spec)
    assert await raise_stopgap(core, request) == request
    (evidence,) = [one for one in await core.registry.evidence(request.id) if one.kind == VERIFICATION]
    assert not evidence.data["passed"]


async def test_nothing_is_trained_of_which_nothing_can_be_proved(cores, spec, monkeypatch):
    core = await cores(eco=True)
    request = await learning(core, spec)
    verify = stopgaps.verify

    async def of_nothing_known(*given):
        found = await verify(*given)
        return found.model_copy(
            update={"probes": tuple(one.model_copy(update={"knows_before": False}) for one in found.probes)}
        )

    monkeypatch.setattr(stopgaps, "verify", of_nothing_known)
    with pytest.raises(AdapterError, match="knows too little"):
        await raise_stopgap(core, request)


async def test_an_engine_without_embeddings_leaves_the_shield(cores, spec):
    core = await cores()
    request = await learning(core, spec)
    assert await raise_stopgap(core, request) == request


async def test_it_stands_in_for_slow_methods_alone(cores, spec):
    core = await cores(eco=True)
    raised = await raise_stopgap(core, await learning(core, spec))
    assert stopgap(replace(raised, spec=spec(method="eco"))) == "ignorance"
