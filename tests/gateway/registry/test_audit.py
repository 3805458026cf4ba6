import pytest
from sqlalchemy import delete, insert, select, update

from gateway.registry import State, tables

AUDITS, REGISTRY = tables.audits, tables.registry


@pytest.fixture
async def log(registry, make):
    """A registry with five entries."""
    request, _ = await registry.create(make(), idempotency_key=None, actor="admin")
    await registry.move(request.id, State.SHIELDED, actor="admin")
    await registry.put_policy({"output_guard": False}, if_match=0, actor="admin")
    await registry.audit("admin", "look", request.id, {"n": 1})
    await registry.audit("other", "look", request.id, {"n": 2})
    return registry


async def tamper(log, *statements):
    async with log._database.writing() as connection:
        for statement in statements:
            await connection.execute(statement)


async def test_every_change_has_its_entry_and_the_log_holds(log):
    entries = await log.audits()
    assert [entry.seq for entry in entries] == [5, 4, 3, 2, 1]
    assert [entry.action for entry in entries[::-1]] == [
        "forget_request.created",
        "forget_request.shielded",
        "policy.put",
        "look",
        "look",
    ]
    assert (entries[0].actor, entries[0].detail) == ("other", {"n": 2})
    assert [entry.seq for entry in await log.audits(cursor=4, limit=2)] == [3, 2]
    assert await log.verify_audit() is None


@pytest.mark.parametrize("column", ["actor", "action", "object"])
async def test_an_altered_entry_is_found(log, column):
    await tamper(log, update(AUDITS).where(AUDITS.c.seq == 3).values({column: "someone"}))
    assert await log.verify_audit() == 3


async def test_an_altered_detail_or_time_is_found(log, clock):
    async with log._database.reading() as connection:
        detail = await connection.scalar(select(AUDITS.c.detail).where(AUDITS.c.seq == 4))
    await tamper(log, update(AUDITS).where(AUDITS.c.seq == 5).values(detail=detail))
    assert await log.verify_audit() == 5
    clock.forward(1)
    await tamper(log, update(AUDITS).where(AUDITS.c.seq == 2).values(at=clock.at))
    assert await log.verify_audit() == 2


async def test_a_dropped_entry_is_found_wherever_it_was(log):
    await tamper(log, delete(AUDITS).where(AUDITS.c.seq == 5))
    assert await log.verify_audit() == 5
    await log.audit("admin", "look", "x", {})  # takes the number of the one that was dropped
    assert await log.verify_audit() == 5
    await tamper(log, delete(AUDITS).where(AUDITS.c.seq == 1))
    assert await log.verify_audit() == 1


async def test_an_added_entry_is_found(log):
    async with log._database.reading() as connection:
        last = (await connection.execute(select(AUDITS).where(AUDITS.c.seq == 5))).one()
    await tamper(log, insert(AUDITS).values({**last._mapping, "seq": 6}))
    assert await log.verify_audit() == 6


@pytest.mark.parametrize("head", [{}, {"audit_head": ""}])
async def test_emptying_the_log_is_found(log, head):
    await tamper(log, delete(AUDITS))
    if head:
        await tamper(log, update(REGISTRY).values(head))
    assert await log.verify_audit() == 1
