import asyncio

import pytest
from pydantic import ValidationError

from gateway.errors import NotFound, PreconditionFailed
from gateway.registry import PolicyDocument


async def test_the_first_policy_is_the_defaults(registry):
    version, body = await registry.policy()
    assert version == 0
    assert PolicyDocument.model_validate(body) == PolicyDocument()
    assert await registry.policy_history() == ()


async def test_a_version_of_before_a_setting_was_there_has_its_default(registry):
    await registry.put_policy({"output_guard": False}, if_match=0, actor="one")
    _, body = await registry.policy()
    assert PolicyDocument.model_validate(body).consolidation == "off"


async def test_versions_follow_each_other_and_stay(registry):
    before = await registry.revision()
    assert await registry.put_policy({"output_guard": False}, if_match=0, actor="one") == 1
    assert await registry.put_policy({"threshold_scale": 0.9}, if_match=None, actor="two") == 2
    assert await registry.policy() == (2, {"threshold_scale": 0.9})
    assert await registry.revision() == before + 2
    assert [(v.version, v.actor) for v in await registry.policy_history()] == [(2, "two"), (1, "one")]
    assert [v.version for v in await registry.policy_history(before=2)] == [1]
    assert (await registry.policy_version(1)).body == {"output_guard": False}


async def test_a_stale_version_replaces_nothing(registry):
    await registry.put_policy({}, if_match=0, actor="one")
    with pytest.raises(PreconditionFailed):
        await registry.put_policy({"output_guard": False}, if_match=0, actor="two")
    assert await registry.policy() == (1, {})


async def test_of_many_at_once_one_replaces(registry):
    puts = [registry.put_policy({}, if_match=0, actor=str(i)) for i in range(6)]
    results = await asyncio.gather(*puts, return_exceptions=True)
    assert sum(isinstance(result, PreconditionFailed) for result in results) == 5


async def test_a_rollback_is_a_new_version(registry):
    await registry.put_policy({"output_guard": False}, if_match=0, actor="one")
    await registry.put_policy({}, if_match=1, actor="one")
    assert await registry.rollback_policy(1, if_match=2, actor="two") == 3
    assert await registry.policy() == (3, {"output_guard": False})
    with pytest.raises(NotFound):
        await registry.rollback_policy(9, if_match=3, actor="two")


@pytest.mark.parametrize(
    "body",
    [{"threshold_scale": 0}, {"threshold_scale": 9}, {"fallbacks": ["x"]}, {"consolidation": "all"}, {"colour": 1}],
)
def test_a_policy_that_makes_no_sense_is_refused(body):
    with pytest.raises(ValidationError):
        PolicyDocument.model_validate(body)
