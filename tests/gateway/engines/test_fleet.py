import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import EngineError, EngineRejected, EngineTimeout, EngineUnavailable
from gateway.engines.fleet import Fleet, backoff

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ONE = CHUNKED + b"b\r\ndata: one\n\n\r\n"
END = b"0\r\n\r\n"
SECRET = b"hello there"


def status(code: int, body: bytes = SECRET, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n%b\r\n%b" % (code, len(body), more, body)


def script(*answers, then=ONE + END):
    """Posts get these answers in turn, `None` closes the connection instead, and then the last; gets are well."""
    left = list(answers)

    async def answer(writer, request):
        if request[0] == "GET":
            writer.write(status(200))
            return
        said = left.pop(0) if left else then
        if said is None:
            writer.close()
        else:
            writer.write(said)
            await writer.drain()
            if said.endswith(SECRET) and said.startswith(CHUNKED):  # broken off
                writer.close()

    return answer


@asynccontextmanager
async def fleet_of(*peers, **options):
    """A started fleet, what it told, and the certainty that it leaves nothing behind."""
    tasks = asyncio.all_tasks()
    told = []
    options = {"timeout": 20.0, "backoff": lambda attempt: 0.0, "event": told.append} | options
    fleet = Fleet([getattr(peer, "url", peer) for peer in peers], **options)
    fleet.told = told
    await fleet.start()
    try:
        yield fleet
    finally:
        await fleet.close()
        await until(lambda: not any(peer.writers for peer in peers if hasattr(peer, "writers")))
        assert not any(replica.outstanding for replica in fleet.replicas)
        assert asyncio.all_tasks() <= tasks | served(peers)


def served(peers):
    return {task for task in asyncio.all_tasks() if "Peer." in repr(task)} if peers else set()


async def until(holds):
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


async def asked(fleet, path="chat/completions"):
    async with asyncio.timeout(10), fleet.stream(path, b"{}") as reply:
        return reply.status, await reply.read()


def posts(peer):
    return sum(request[0] == "POST" for request in peer.requests)


GOOD = (200, b"data: one\n\n")


async def nobody(peer):
    """A peer that has gone: nothing listens at its port."""
    one = await peer(script())
    await one.stop()
    return one


async def test_a_reply_comes_as_it_is_sent_over_one_connection(peer):
    one = await peer(script())
    async with fleet_of(one, api_key="k") as fleet:
        for _ in range(3):
            async with fleet.stream("completions", b"{}") as reply:
                assert (reply.ok, fleet.replicas[0].outstanding) == (True, 1)
                assert [part async for part in reply.chunks()] == [b"data: one\n\n"]
        assert await fleet.replicas[0].get("/health") == (200, SECRET)
        assert await fleet.replicas[0].post("/tokenize", b"[]") == GOOD
    assert one.opened == 1
    method, path, headers, body = one.requests[0]
    assert (method, path, body) == ("POST", "/v1/completions", b"{}")
    assert (headers["authorization"], headers["content-type"]) == ("Bearer k", "application/json")
    assert one.requests[-1][1] == "/tokenize"


async def test_the_least_busy_replica_is_asked_and_equals_take_turns(peer):
    peers = [await peer(script(then=ONE)) for _ in range(3)]
    async with fleet_of(*peers) as fleet, AsyncExitStack() as held:
        replies = [await held.enter_async_context(fleet.stream("x", b"{}")) for _ in range(7)]
        asked_of = [fleet.replicas.index(reply.replica) for reply in replies]
        assert asked_of == [0, 1, 2, 0, 1, 2, 0]
        for reply in replies[1::3]:
            reply.close()
        assert [replica.outstanding for replica in fleet.replicas] == [3, 0, 2]
        for wanted in (1, 1, 2, 1):
            reply = await held.enter_async_context(fleet.stream("x", b"{}"))
            assert fleet.replicas.index(reply.replica) == wanted


@pytest.mark.parametrize("first", [None, status(502), status(503), b""])
async def test_what_did_not_run_is_sent_again_once(peer, first):
    one = await peer(script(first) if first != b"" else script())
    gone = [await nobody(peer)] if first == b"" else []
    async with fleet_of(*gone, one) as fleet:
        assert await asked(fleet) == GOOD
        assert fleet.told.count("retry") == 1
        if first == b"":
            assert await asked(fleet) == GOOD
    assert posts(one) == 2


async def test_it_is_sent_again_over_a_new_connection(peer):
    used, together = set(), asyncio.Barrier(2)

    async def answer(writer, request):
        if request[0] == "GET":
            writer.write(status(200))
        elif writer in used:
            writer.close()
        else:
            used.add(writer)
            if len(used) <= 2:
                await together.wait()
            writer.write(ONE + END)

    one = await peer(answer)
    async with fleet_of(one) as fleet:
        await asyncio.gather(asked(fleet), asked(fleet))
        assert await asked(fleet) == GOOD
        assert fleet.told.count("retry") == 1
    assert one.opened == 3


async def test_it_is_sent_again_to_another_where_there_is_one(peer):
    bad, good = await peer(script(then=status(503))), await peer(script())
    async with fleet_of(bad, good) as fleet:
        for _ in range(2):
            assert await asked(fleet) == GOOD
    assert (posts(bad), posts(good)) == (2, 2)  # alike busy, they take turns


async def test_it_is_sent_again_to_another_however_busy(peer):
    bad, good = await peer(script(ONE, ONE, then=status(503))), await peer(script())
    async with fleet_of(good, bad) as fleet, AsyncExitStack() as held:
        replies = [await held.enter_async_context(fleet.stream("x", b"{}")) for _ in range(4)]
        for reply in replies[1::2]:
            reply.close()
        assert await asked(fleet) == GOOD
    assert (posts(bad), posts(good)) == (3, 3)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, EngineRejected),
        (422, EngineRejected),
        (404, EngineUnavailable),
        (408, EngineTimeout),
        (429, EngineUnavailable),
        (500, EngineUnavailable),
        (504, EngineTimeout),
    ],
)
async def test_what_may_have_run_or_never_will_is_not_sent_again(peer, code, kind):
    one = await peer(script(then=status(code, b'{"error": {"param": "n", "message": "hello there"}}')))
    async with fleet_of(one) as fleet:
        async with fleet.stream("x", b"{}") as reply:
            error = await reply.refusal({"n"})
        assert type(error) is kind
        assert "hello" not in str(error)
        assert getattr(error, "param", "n") == "n"
        assert "retry" not in fleet.told
    assert posts(one) == 1


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"error": "n"}', b'{"error": {"param": "secret"}}', b'{"error": {"param": 3}}']
)
async def test_a_refusal_keeps_no_field_that_is_not_ours(peer, body):
    async with fleet_of(await peer(script(then=status(400, body)))) as fleet, fleet.stream("x", b"{}") as reply:
        error = await reply.refusal({"n"})
    assert isinstance(error, EngineRejected)
    assert error.param is None


@pytest.mark.parametrize("said", [b"", ONE])
async def test_silence_is_a_timeout_and_never_sent_again(peer, said):
    one = await peer(script(then=said))
    async with fleet_of(one, await peer(script(then=said)), timeout=0.05) as fleet:
        with pytest.raises(EngineTimeout):
            await asked(fleet)
        assert "retry" not in fleet.told
    assert one.left.is_set()


@pytest.mark.parametrize("said", [ONE + SECRET, CHUNKED + b"ff\r\n" + SECRET, b"<html>" + SECRET + b"\r\n\r\n"])
async def test_what_breaks_off_or_is_garbage_is_unavailable_without_its_words(peer, said):
    async with fleet_of(await peer(script(then=said))) as fleet:
        with pytest.raises(EngineUnavailable) as caught:
            await asked(fleet)
    assert "hello" not in str(caught.value)
    assert caught.value.__suppress_context__


async def test_leaving_in_the_middle_closes_the_connection(peer):
    one = await peer(script(then=ONE))
    async with fleet_of(one) as fleet:
        async with fleet.stream("x", b"{}") as reply:
            assert await anext(reply.chunks()) == b"data: one\n\n"
        await asyncio.wait_for(one.left.wait(), 10)
        waiting = asyncio.create_task(asked(fleet))
        await until(lambda: posts(one) == 2)
        one.left.clear()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(one.left.wait(), 10)
        assert fleet.told == ["closed"]  # nobody failed


async def test_an_end_that_comes_late_saves_the_connection_and_none_does_not(peer):
    late = asyncio.Event()

    async def answer(writer, request):
        writer.write(ONE)
        await late.wait()
        writer.write(END)

    one = await peer(answer)
    async with fleet_of(one) as fleet:
        for _ in range(2):
            late.clear()
            async with fleet.stream("x", b"{}") as reply:
                await anext(reply.chunks())
                asyncio.get_running_loop().call_soon(late.set)
                await reply.finish()
        assert one.opened == 1
        late.clear()
        async with fleet.stream("x", b"{}") as reply:
            await anext(reply.chunks())
            await reply.finish(0.01)
        late.set()
        assert await asked(fleet) == GOOD
        assert one.opened == 2


async def test_three_failures_in_a_row_open_and_the_probe_closes(peer):
    bad = [status(500), status(504), status(503)]
    said, held = script(*bad[:2], ONE + END, *bad), asyncio.Event()

    async def answer(writer, request):
        if request[0] == "GET":
            await held.wait()
        await said(writer, request)

    one = await peer(answer)
    async with fleet_of(one, retries=0) as fleet:
        for _ in range(6):
            with suppress(EngineError):
                await asked(fleet)
        assert fleet.told == ["closed", "opened"]
        assert not fleet.replicas[0].admitted
        with pytest.raises(EngineUnavailable):
            await asked(fleet)
        assert posts(one) == 6  # an open circuit asks nobody
        held.set()
        await until(lambda: fleet.replicas[0].admitted)
        assert await asked(fleet) == GOOD
        assert fleet.told == ["closed", "opened", "closed"]


async def test_a_replica_that_dies_and_comes_back_is_examined_again(peer):
    examined = []

    async def examine(replica):
        assert await replica.post("/tokenize", b"{}") == GOOD
        examined.append(replica.url)

    one, other = await peer(script()), await peer(script())
    async with fleet_of(one, other, examine=examine) as fleet:
        assert sorted(examined) == sorted([one.url, other.url])
        async with fleet.stream("x", b"{}"), fleet.stream("x", b"{}"):
            await one.stop()  # in the middle of its answer
        for _ in range(12):
            assert await asked(fleet) == GOOD
        assert [replica.admitted for replica in fleet.replicas] == [False, True]
        await fleet.health()
        await until(lambda: fleet.replicas[0].trouble is not None)
        await one.start()
        await until(lambda: fleet.replicas[0].admitted)
        assert examined.count(one.url) == 2
        before = posts(one)
        for _ in range(4):
            assert await asked(fleet) == GOOD
        assert posts(one) == before + 2


@pytest.mark.parametrize(
    ("error", "kind"), [(EngineUnavailable("another tokenizer"), EngineUnavailable), (KeyError("hello"), EngineError)]
)
async def test_who_does_not_pass_never_serves(peer, error, kind):
    async def examine(replica):
        raise error

    tries = []
    one = await peer(script())
    async with fleet_of(one, examine=examine, backoff=lambda attempt: tries.append(attempt) or 0.0) as fleet:
        trouble = fleet.replicas[0].trouble
        assert type(trouble) is kind
        assert "hello" not in str(trouble)
        with pytest.raises(EngineUnavailable):
            await fleet.health()
        with pytest.raises(EngineUnavailable):
            await asked(fleet)
        await until(lambda: len(tries) >= 3)
        assert tries[:3] == [0, 1, 2]
        assert fleet.told == []
    assert posts(one) == 0


async def test_health_admits_without_waiting_for_the_back_off(peer):
    one = await nobody(peer)
    async with fleet_of(one, examine=noted, backoff=lambda attempt: 3600.0) as fleet:
        with pytest.raises(EngineUnavailable):
            await fleet.health()
        await one.start()
        await fleet.health()
        assert await asked(fleet) == GOOD
        await one.stop()
        for _ in range(4):
            with pytest.raises(EngineUnavailable):
                await fleet.health()
        assert fleet.told == ["closed", "opened"]


async def test_what_an_examination_tries_in_vain_is_not_held_against_it(peer):
    async def examine(replica):
        for _ in range(3):
            assert (await replica.post("elsewhere", b"{}"))[0] == 500

    one = await peer(script(*[status(500)] * 4))
    async with fleet_of(one, examine=examine) as fleet:
        assert (await asked(fleet))[0] == 500
        assert await asked(fleet) == GOOD
        assert fleet.told == ["closed"]


async def noted(replica):
    pass


async def test_one_that_hangs_does_not_hold_up_health(peer):
    async def hang(writer, request):
        pass

    good = await peer(script())
    async with fleet_of(await peer(hang), good) as fleet:
        await asyncio.wait_for(fleet.health(), 10)
    async with fleet_of(await peer(hang), connect=0.05) as fleet:
        for _ in range(3):
            with pytest.raises(EngineUnavailable):
                await fleet.health()
        assert fleet.told == ["closed", "opened"]


@given(st.integers(0, 10_000))
def test_back_off_grows_to_a_bound(attempt):
    assert 0.25 <= backoff(0) <= 0.5
    assert min(5.0, 0.25 * 2.0 ** min(attempt, 10)) <= backoff(attempt) <= 10.0


def test_a_fleet_needs_a_url():
    with pytest.raises(ValueError):
        Fleet([])
