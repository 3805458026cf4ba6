import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import select

from gateway.errors import ApiError, Conflict, Invalid, NotFound
from gateway.registry import ForgetSpec, Registry, RegistryError, State, Vault, tables

SECRET = "Zyxwvut Undernamed"


async def filed(registry, spec, **more):
    request, created = await registry.create(spec, idempotency_key=None, actor="admin", **more)
    assert created
    return request


async def shielded(registry, spec):
    request = await filed(registry, spec)
    return await registry.move(request.id, State.SHIELDED, actor="admin", method="ignorance")


async def test_a_request_is_what_was_filed(registry, make, clock):
    spec = make(examples=["Who is she?"], reference="T-1", expires_at="2999-01-01T00:00:00+01:00")
    request = await filed(registry, spec, warnings=("one alias is short",))
    assert request == await registry.get(request.id)
    assert (request.spec, request.state, request.method) == (spec, State.RECEIVED, None)
    assert (request.created_at, request.updated_at, request.revision) == (clock.at, clock.at, 1)
    assert (request.warnings, request.artifacts, request.attempts) == (("one alias is short",), {}, 0)
    assert spec.subject not in repr(request)


async def test_the_same_key_and_body_is_the_same_request(registry, make):
    first, created = await registry.create(make(), idempotency_key="k", actor="admin")
    again, repeated = await registry.create(make(), idempotency_key="k", actor="admin")
    assert (created, repeated) == (True, False)
    assert first == again
    with pytest.raises(Conflict) as caught:
        await registry.create(make("Bo Vane"), idempotency_key="k", actor="admin")
    assert caught.value.param == "Idempotency-Key"
    other, created = await registry.create(make("Bo Vane"), idempotency_key="k", actor="someone else")
    assert created
    assert other.id != first.id


async def test_ten_at_once_with_one_key_make_one(registry, make):
    made = await asyncio.gather(*(registry.create(make(), idempotency_key="k", actor="admin") for _ in range(10)))
    assert len({request.id for request, _ in made}) == 1
    assert sum(created for _, created in made) == 1


async def test_a_duplicate_is_refused_until_the_first_is_over(registry, make):
    first = await filed(registry, make())
    with pytest.raises(Conflict, match=first.id) as caught:
        await registry.create(make(" ada QUILL "), idempotency_key=None, actor="admin")
    assert caught.value.param == "subject"
    assert await registry.revision() == 1
    await registry.move(first.id, State.ROLLED_BACK, actor="admin")
    await filed(registry, make())


async def test_pages_hold_every_request_once_newest_first(registry, make, clock):
    ids = []
    for i in range(7):
        ids.append((await filed(registry, make(f"Person {i}"))).id)
        clock.forward(1)
    found, cursor = [], None
    while True:
        page = await registry.page(None, cursor, 3)
        found += [request.id for request in page.items]
        if (cursor := page.next) is None:
            break
    assert found == ids[::-1]
    await registry.move(ids[2], State.SHIELDED, actor="admin")
    assert [request.id for request in (await registry.page(State.SHIELDED, None, 3)).items] == [ids[2]]
    with pytest.raises(Invalid):
        await registry.page(None, "fr_nonsense", 3)


async def test_a_move_carries_changes_event_audit_and_revision(registry, make, clock):
    request = await filed(registry, make())
    clock.forward(5)
    changes = {"method": "ignorance", "thresholds": {"dense": 0.5}, "warnings": ("w",), "artifacts": {"eco": "ab"}}
    moved = await registry.move(request.id, State.SHIELDED, actor="admin", **changes)
    assert moved == await registry.get(request.id)
    assert {name: getattr(moved, name) for name in changes} == changes
    assert moved.updated_at - moved.created_at == timedelta(seconds=5)
    assert moved.revision == await registry.revision() == 2
    first, second = await registry.events(request.id)
    assert (first.seq, first.kind, second.seq, second.kind) == (1, "created", 2, "shielded")
    assert (second.at, second.actor, second.data["from"]) == (clock.at, "admin", "received")
    assert [entry.action for entry in await registry.audits()] == ["forget_request.shielded", "forget_request.created"]


async def test_an_illegal_or_unexpected_move_changes_nothing(registry, make):
    request = await filed(registry, make())
    before = await registry.events(request.id), await registry.audits(), await registry.revision()
    with pytest.raises(Conflict):
        await registry.move(request.id, State.ENFORCED, actor="admin")
    with pytest.raises(Conflict):
        await registry.move(request.id, State.SHIELDED, actor="admin", expect={State.LEARNING})
    with pytest.raises(NotFound):
        await registry.move("fr_0", State.SHIELDED, actor="admin")
    assert before == (await registry.events(request.id), await registry.audits(), await registry.revision())
    assert await registry.get(request.id) == request


async def test_of_many_moves_at_once_one_wins(registry, make):
    request = await filed(registry, make())
    moves = [registry.move(request.id, State.SHIELDED, actor="a", expect={State.RECEIVED}) for _ in range(8)]
    results = await asyncio.gather(*moves, return_exceptions=True)
    assert sum(isinstance(result, Conflict) for result in results) == 7
    assert len(await registry.events(request.id)) == 2


async def test_an_update_keeps_state_and_lease(registry, make):
    request = await shielded(registry, make())
    await registry.claim("w", 30)
    updated = await registry.update(request.id, actor="w", thresholds={"dense": 0.7})
    assert (updated.state, updated.thresholds) == (State.SHIELDED, {"dense": 0.7})
    assert await registry.claim("other", 30) is None
    with pytest.raises(Conflict):
        await registry.update(request.id, actor="w", expect={State.ENFORCED})


async def test_notes_are_events_and_leave_the_revision(registry, make):
    request = await filed(registry, make())
    for share in (0.1, 0.5):
        await registry.note(request.id, "progress", {"share": share})
    assert [event.data.get("share") for event in await registry.events(request.id, after=1)] == [0.1, 0.5]
    assert await registry.revision() == 1
    with pytest.raises(NotFound):
        await registry.note("fr_0", "progress", {})
    with pytest.raises(NotFound):
        await registry.events("fr_0")


async def test_targets_come_back_and_go_when_the_request_is_over(registry, make):
    one, two = await shielded(registry, make("One Person")), await shielded(registry, make("Two Person"))
    before = await registry.revision()
    for request in (one, two):
        await registry.put_targets(request.id, b"old")
        await registry.put_targets(request.id, request.id.encode())
    assert await registry.revision() == before + 4
    assert await registry.targets() == {one.id: one.id.encode(), two.id: two.id.encode()}
    assert await registry.targets([two.id, "fr_0"]) == {two.id: two.id.encode()}
    await registry.move(one.id, State.RETIRED, actor="admin")
    assert set(await registry.targets()) == {two.id}
    with pytest.raises(Conflict):
        await registry.put_targets(one.id, b"late")


async def test_evidence_is_kept_in_order(registry, make):
    request = await filed(registry, make())
    for kind in ("verification", "other", "verification"):
        await registry.put_evidence(request.id, kind, {"n": 1})
    assert [item.kind for item in await registry.evidence(request.id)] == ["verification", "other", "verification"]
    with pytest.raises(NotFound):
        await registry.evidence("fr_0")


async def test_evidence_of_one_kind_is_that_of_all_requests_in_the_order_in_which_it_came(registry, make, clock):
    first, second = await filed(registry, make("A First")), await filed(registry, make("B Second"))
    kept = [(second.id, "step", 1), (first.id, "other", 2), (first.id, "step", 3), (second.id, "step", 4)]
    for id, kind, n in kept:
        clock.forward(1)
        await registry.put_evidence(id, kind, {"n": n})
    found = [(id, item.kind, item.data["n"]) for id, item in await registry.evidence_of("step")]
    assert found == [one for one in kept if one[1] == "step"]
    assert await registry.evidence_of("none") == ()


async def test_active_and_changed(registry, make):
    waiting = await filed(registry, make("A Waiting"))
    up, gone = await shielded(registry, make("B Up")), await shielded(registry, make("C Gone"))
    seen = await registry.revision()
    over = await registry.move(gone.id, State.RETIRED, actor="admin")
    assert await registry.active() == (up,)
    assert await registry.changed(seen) == (over,)
    assert {request.id for request in await registry.changed(0)} == {waiting.id, up.id, gone.id}


async def test_everything_is_there_after_reopening(url, vault, make):
    registry = await Registry.open(url, vault)
    request = await shielded(registry, make())
    await registry.put_targets(request.id, b"blob")
    await registry.close()
    registry = await Registry.open(url, vault)
    assert (await registry.active())[0].spec == request.spec
    assert await registry.targets() == {request.id: b"blob"}
    await registry.close()


async def test_another_key_is_refused_at_open(registry, url):
    with pytest.raises(RegistryError, match="another key"):
        await Registry.open(url, Vault(b"x" * 32))


async def test_nothing_personal_is_stored_in_clear(registry, url):
    spec = ForgetSpec(
        scope="entity", subject=SECRET, aliases=[SECRET], examples=[SECRET], documents=[SECRET], reference=SECRET
    )
    request, _ = await registry.create(spec, idempotency_key=SECRET, actor="admin", warnings=[SECRET])
    await registry.note(request.id, "progress", {"about": SECRET})
    await registry.put_targets(request.id, SECRET.encode())
    await registry.put_evidence(request.id, "verification", {"probe": SECRET})
    await registry.put_policy({"note": SECRET}, if_match=None, actor="admin")
    await registry.audit("admin", "look", request.id, {"about": SECRET})
    async with registry._database.reading() as connection:
        for table in tables.metadata.sorted_tables:
            for row in await connection.execute(select(table)):
                assert SECRET.encode() not in b"|".join(
                    value if isinstance(value, bytes) else str(value).encode() for value in row
                )


async def test_rows_cannot_be_swapped(registry, make):
    one, two = await filed(registry, make("One Person")), await filed(registry, make("Two Person"))
    table = tables.requests
    async with registry._database.writing() as connection:
        spec = await connection.scalar(select(table.c.spec).where(table.c.id == one.id))
        await connection.execute(table.update().where(table.c.id == two.id).values(spec=spec))
    with pytest.raises(RegistryError):
        await registry.get(two.id)


async def test_ids_sort_by_age(registry, make, clock):
    ids = []
    for i in range(5):
        ids.append((await filed(registry, make(f"Person {i}"))).id)
        clock.forward(0.001)
    assert all(one < two for one, two in pairwise(ids))


def test_a_registry_error_is_a_503():
    assert isinstance(RegistryError("x"), ApiError)
    assert RegistryError("x").status == 503
