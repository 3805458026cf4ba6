import asyncio

import orjson
import pytest

from gateway.admin.events import follow
from gateway.registry import RegistryError, State

STREAM = {"accept": "text/event-stream"}


@pytest.fixture
async def id(http, entity):
    return (await http.post("/forget-requests", json=entity())).json()["id"]


def parsed(text):
    """(id, kind, data) of each event in a stream."""
    blocks = [
        dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\n\n") if "id:" in block
    ]
    return [(int(block["id"]), block["event"], orjson.loads(block["data"])) for block in blocks]


async def test_history_comes_in_pages(http, core, id):
    await core.registry.note(id, "progress", {"share": 0.5})
    page = (await http.get(f"/forget-requests/{id}/events", params={"limit": 2})).json()
    assert [(event["seq"], event["kind"]) for event in page["data"]] == [(1, "created"), (2, "shielded")]
    rest = (await http.get(f"/forget-requests/{id}/events", params={"after": page["next_cursor"]})).json()
    assert [(event["kind"], event["data"]) for event in rest["data"]] == [("progress", {"share": 0.5})]
    assert rest["next_cursor"] is None


async def test_a_stream_follows_to_the_end_and_resumes(http, core, id):
    following = asyncio.create_task(http.get(f"/forget-requests/{id}/events", headers=STREAM))
    await core.registry.note(id, "progress", {"share": 0.5})
    await http.post(f"/forget-requests/{id}/retire")
    response = await asyncio.wait_for(following, 10)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = parsed(response.text)
    assert [(seq, kind) for seq, kind, _ in events] == [
        (1, "created"),
        (2, "shielded"),
        (3, "progress"),
        (4, "retired"),
    ]
    assert events[2][2]["data"] == {"share": 0.5}
    resumed = await http.get(f"/forget-requests/{id}/events", headers={**STREAM, "last-event-id": "3"})
    assert [kind for _, kind, _ in parsed(resumed.text)] == ["retired"]
    over = await http.get(f"/forget-requests/{id}/events", headers={**STREAM, "last-event-id": "4"})
    assert over.status_code == 204


async def test_a_bad_place_to_resume_and_an_unknown_request_are_refused(http, id):
    response = await http.get(f"/forget-requests/{id}/events", headers={**STREAM, "last-event-id": "x"})
    assert (response.status_code, response.json()["error"]["param"]) == (422, "Last-Event-ID")
    assert (await http.get("/forget-requests/fr_0/events", headers=STREAM)).status_code == 404


async def test_events_come_as_they_happen(core, id):
    stream = follow(core.registry, id, 2, poll_s=0.001)
    assert await anext(stream) == b": following\n\n"
    waiting = asyncio.create_task(anext(stream))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    await core.registry.move(id, State.LEARNING, actor="worker")
    assert (await asyncio.wait_for(waiting, 5)).startswith(b"id: 3\nevent: learning\n")
    await stream.aclose()


async def test_silence_is_broken_by_keep_alives(core, id):
    stream = follow(core.registry, id, 2, poll_s=0.001, keep_alive_s=0.0)
    assert [await anext(stream) for _ in range(3)][1:] == [b": still here\n\n"] * 2
    await stream.aclose()


async def test_a_long_history_is_whole(core, id):
    for i in range(450):
        await core.registry.note(id, "progress", {"i": i})
    await core.registry.move(id, State.RETIRED, actor="admin")
    events = parsed(b"".join([part async for part in follow(core.registry, id, 0)]).decode())
    assert [seq for seq, _, _ in events] == list(range(1, 454))


async def test_a_registry_that_goes_away_ends_the_stream(core, id, monkeypatch):
    async def away(*_):
        raise RegistryError("away")

    monkeypatch.setattr(core.registry, "events", away)
    assert [part async for part in follow(core.registry, id, 0)] == [b": following\n\n"]
