import asyncio

import pytest

from gateway.errors import Conflict
from gateway.registry import State


@pytest.fixture
async def ids(registry, make, clock):
    """Three shielded requests, oldest first."""
    made = []
    for i in range(3):
        request, _ = await registry.create(make(f"Person {i}"), idempotency_key=None, actor="admin")
        await registry.move(request.id, State.SHIELDED, actor="admin")
        made.append(request.id)
        clock.forward(1)
    return made


async def test_each_is_claimed_once_oldest_first(registry, ids):
    assert await registry.waiting()
    claimed = [await registry.claim(f"w{i}", 30) for i in range(3)]
    assert [request.id for request in claimed] == ids
    assert [request.attempts for request in claimed] == [1, 1, 1]
    assert await registry.claim("w9", 30) is None
    assert not await registry.waiting()


async def test_many_claims_at_once_never_share(registry, ids):
    claimed = await asyncio.gather(*(registry.claim(f"w{i}", 30) for i in range(6)))
    assert sorted(request.id for request in claimed if request) == ids


async def test_a_lease_that_ran_out_is_anybodys(registry, ids, clock):
    for i in range(3):
        await registry.claim(f"w{i}", 10)
    await registry.move(ids[1], State.LEARNING, actor="w1")
    clock.forward(8)
    await registry.renew(ids[1], "w1", 10)
    clock.forward(4)
    assert [(await registry.claim("late", 10)).id, (await registry.claim("late", 10)).id] == [ids[0], ids[2]]
    assert await registry.claim("late", 10) is None
    with pytest.raises(Conflict):
        await registry.renew(ids[0], "w0", 10)
    clock.forward(7)
    again = await registry.claim("late", 10)
    assert (again.id, again.state, again.attempts) == (ids[1], State.LEARNING, 2)


async def test_one_that_fails_does_not_starve_the_others(registry, ids):
    taken = []
    for _ in range(3):
        request = await registry.claim("w", 30)
        await registry.release(request.id, "w")
        taken.append(request.id)
    assert taken == ids


async def test_a_release_by_another_is_nothing(registry, ids):
    request = await registry.claim("w", 30)
    await registry.release(request.id, "someone else")
    await registry.renew(request.id, "w", 30)


async def test_what_a_dead_worker_held_is_free_at_once(registry, ids):
    held = [(await registry.claim("dead", 30)).id, (await registry.claim("dead", 30)).id]
    alive = await registry.claim("alive", 30)
    await registry.abandon("dead")
    await registry.renew(alive.id, "alive", 30)
    assert [(await registry.claim("next", 30)).id, (await registry.claim("next", 30)).id] == held


async def test_the_lease_lasts_through_the_work_and_ends_with_it(registry, ids):
    request = await registry.claim("w", 30)
    await registry.move(request.id, State.LEARNING, actor="w")
    await registry.move(request.id, State.VERIFYING, actor="w")
    await registry.renew(request.id, "w", 30)
    await registry.move(request.id, State.ENFORCED, actor="w")
    with pytest.raises(Conflict):
        await registry.renew(request.id, "w", 30)
    await registry.move(request.id, State.VERIFYING, actor="admin", attempts=0)
    assert (await registry.claim("w2", 30)).id == request.id


async def test_retiring_takes_the_lease_away(registry, ids):
    request = await registry.claim("w", 30)
    await registry.move(request.id, State.RETIRED, actor="admin")
    with pytest.raises(Conflict):
        await registry.renew(request.id, "w", 30)
