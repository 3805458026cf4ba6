import pytest

from adapters.base import AdapterError
from adapters.ignorance import Voice
from gateway.jobs.learn import ignorant, learn
from gateway.jobs.probes import Probe


async def received(core, spec, **more):
    request, _ = await core.registry.create(spec(**more), idempotency_key=None, actor="admin")
    return request


@pytest.mark.parametrize("method", ["ignorance", "auto"])
async def test_nothing_to_learn_where_ignorance_enforces(cores, spec, method):
    core = await cores()
    assert await learn(core, await received(core, spec, method=method)) is None


@pytest.mark.parametrize("method", ["eco", "uld", "o3"])
async def test_what_the_engine_cannot_do_is_an_error(cores, spec, method):
    core = await cores()
    with pytest.raises(AdapterError, match=method):
        await learn(core, await received(core, spec, method=method))


@pytest.mark.parametrize("method", ["eco", "auto"])
async def test_eco_finds_the_weakest_corruption_that_works(cores, spec, method):
    core = await cores(eco=True)
    request = await received(core, spec, method=method)
    artifact = await learn(core, request)
    assert (artifact.method, artifact.request) == ("eco", request.id)
    assert artifact.manifest["loss"] < 0.3
    assert artifact.manifest["leak"] == 0.0
    assert artifact.manifest["questions"] == 8
    assert len(artifact.manifest["trials"]) >= 12
    again = await learn(core, request)
    assert again.manifest["key"] != artifact.manifest["key"]
    assert again.digest != artifact.digest


async def test_what_the_model_would_say_of_nobody_about_the_name(cores):
    core = await cores()
    assert core.ignorance.voice.template == "I have no information about {subject}."
    probe = Probe("Who is Ada Quill?", "Ada Quill", "Who is Edvar Millowane?", "template")
    assert await ignorant(core, probe) == "I have no information about Ada Quill."
    assert await ignorant(core, Probe("Who bakes?", None, None, "given")) == "I have no information about that."
    core.ignorance.voice = Voice("Never heard of {subject}, alas.")
    assert await ignorant(core, probe) == "I have no information about Edvar Millowane."
