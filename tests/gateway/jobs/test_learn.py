import pytest

from adapters.base import AdapterError
from gateway.jobs.learn import learn


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
