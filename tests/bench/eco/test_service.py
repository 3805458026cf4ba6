import asyncio

import httpx
import pytest

from bench.eco import service
from bench.eco.service import Load, loaded


@pytest.fixture
def client(monkeypatch):
    """A client of a server that answers as it is told; requests leave fast."""
    monkeypatch.setattr(service, "RATE", 500.0)

    def of(answer):
        return httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://lethe")

    return of


async def test_what_leaves_is_counted_and_answered(client):
    async def answer(request):
        await asyncio.sleep(0.01)
        return httpx.Response(200)

    async with client(answer) as http, loaded(http) as load:
        await asyncio.sleep(0.1)
    assert load.sent == load.answered > 2
    assert (load.refused, load.rate) == (0, load.sent / load.seconds)


@pytest.mark.parametrize("answer", [httpx.Response(503), httpx.ConnectError("gone"), httpx.ReadTimeout("silent")])
async def test_a_request_without_an_answer_is_one_that_was_refused(client, answer):
    def answered(request):
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with client(answered) as http, loaded(http) as load:
        await asyncio.sleep(0.02)
    assert load.refused == load.sent > 0
    assert Load().rate == 0


async def _crashing(http, beside):
    async with http, loaded(http):
        await asyncio.sleep(0.02)
        beside.set()


async def test_a_sender_that_crashes_is_seen(client, monkeypatch):
    monkeypatch.setattr(service, "RATE", 0)
    beside = asyncio.Event()
    with pytest.raises(ZeroDivisionError):
        await _crashing(client(lambda request: httpx.Response(200)), beside)
    assert beside.is_set()


async def test_a_failure_beside_the_load_is_told_as_it_is(client):
    async with client(lambda request: httpx.Response(200)) as http:
        with pytest.raises(KeyError):
            async with loaded(http):
                raise KeyError
