import pytest

from gateway.jobs.learn import learn


@pytest.mark.parametrize("method", ["eco", "auto"])
async def test_eco_finds_the_weakest_corruption_that_works(cores, spec, method):
    core = await cores(eco=True)
    request = (await core.registry.create(spec(method=method), idempotency_key=None, actor="admin"))[0]
    artifact = await learn(core, request)
    assert (artifact.method, artifact.request) == ("eco", request.id)
    assert artifact.manifest["loss"] < 0.3
    assert artifact.manifest["leak"] == 0.0
    assert artifact.manifest["questions"] == 8
    assert len(artifact.manifest["trials"]) >= 12
    again = await learn(core, request)
    assert again.manifest["key"] != artifact.manifest["key"]
    assert again.digest != artifact.digest
