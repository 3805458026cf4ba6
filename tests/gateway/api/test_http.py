import asyncio

import pytest
from starlette.requests import Request

from gateway.api.http import ClientGone, EventStream, body_of, while_listening
from gateway.errors import TooLarge


def request(*messages, headers=()):
    queue = asyncio.Queue()
    for message in messages:
        queue.put_nowait(message)
    return Request({"type": "http", "method": "POST", "headers": list(headers)}, queue.get)


def part(body, more=False):
    return {"type": "http.request", "body": body, "more_body": more}


GONE = {"type": "http.disconnect"}


async def test_a_body_in_parts():
    assert await body_of(request(part(b"ab", True), part(b"", True), part(b"c")), 3) == b"abc"


async def test_a_body_over_the_limit_is_refused_as_soon_as_that_is_known():
    with pytest.raises(TooLarge, match="limit is 3"):
        await body_of(request(headers=[(b"content-length", b"4")]), 3)  # nothing was read
    with pytest.raises(TooLarge):
        await body_of(request(part(b"abcd", True)), 3)


@pytest.mark.parametrize("length", [b"", b"-1", b"x", b"1.5", "²".encode("latin-1")])
async def test_a_length_that_is_none_does_not_count(length):
    assert await body_of(request(part(b"abc"), headers=[(b"content-length", length)]), 3) == b"abc"


async def test_a_client_gone_in_its_upload():
    with pytest.raises(ClientGone):
        await body_of(request(part(b"ab", True), GONE), 3)


async def test_work_is_cancelled_when_the_client_goes():
    cancelled = asyncio.Event()

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(ClientGone):
        await while_listening(request(GONE), work())
    assert cancelled.is_set()


async def test_work_that_is_done_is_answered_and_its_error_raised():
    async def work(error=None):
        if error:
            raise error
        return 7

    assert await while_listening(request(), work()) == 7
    with pytest.raises(KeyError):
        await while_listening(request(), work(KeyError()))


async def test_a_stream_that_fails_is_not_silent():
    async def events():
        yield b"data: 1\n\n"
        raise KeyError

    async def send(message):
        pass

    with pytest.raises(KeyError):
        await EventStream(events())({"type": "http"}, asyncio.Queue().get, send)


async def test_a_stream_has_no_length_and_is_not_kept():
    async def events():
        yield b"data: 1\n\n"

    sent = []

    async def send(message):
        sent.append(message)

    await EventStream(events())({"type": "http"}, asyncio.Queue().get, send)
    headers = dict(sent[0]["headers"])
    assert headers[b"cache-control"] == b"no-store"
    assert b"content-length" not in headers
    assert [message.get("body") for message in sent[1:]] == [b"data: 1\n\n", b""]
