import asyncio

import httpx
import pytest
import uvicorn

from gateway import client as admin_client
from gateway.client import AdminClient, ClientError
from gateway.settings import Settings

KEY = "admin-key"


@pytest.fixture
async def client():
    """Makes a client whose gateway is a function."""
    made = []

    async def against(answer):
        client = AdminClient("http://lethe/", KEY)
        await client._http.aclose()
        headers = {"authorization": f"Bearer {KEY}"}
        client._http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url=client.url, headers=headers)
        made.append(client)
        return client

    yield against
    for one in made:
        await one._http.aclose()


async def test_paths_keys_and_bodies(client):
    seen = []

    def answer(request):
        seen.append(request)
        return httpx.Response(202, json={"id": "fr"})

    admin = await client(answer)
    assert await admin.get("/forget-requests", {"state": "failed"}) == {"id": "fr"}
    assert await admin.post("/forget-requests", {"scope": "entity"}, **{"Idempotency-Key": "k"}) == {"id": "fr"}
    assert str(seen[0].url) == "http://lethe/admin/v1/forget-requests?state=failed"
    assert {request.headers["authorization"] for request in seen} == {f"Bearer {KEY}"}
    assert seen[1].headers["idempotency-key"] == "k"
    assert seen[1].content == b'{"scope":"entity"}'


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (httpx.Response(422, json={"error": {"message": "subject: required."}}), "422: subject: required."),
        (httpx.Response(502, text="<html>"), "502"),
        (httpx.Response(500, json=["?"]), "500"),
    ],
)
async def test_an_error_is_one_line(client, response, message):
    admin = await client(lambda request: response)
    with pytest.raises(ClientError) as refused:
        await admin.get("/policy")
    assert str(refused.value) == message


async def test_no_gateway_says_how_to_start_one(client):
    def answer(request):
        raise httpx.ConnectError("refused")

    admin = await client(answer)
    with pytest.raises(ClientError, match="lethe serve"):
        await admin.get("/policy")


@pytest.mark.parametrize(("idle_s", "connections"), [(60.0, 1), (0.0, 2)])
async def test_a_connection_that_was_idle_for_too_long_is_not_used_again(monkeypatch, idle_s, connections):
    opened = []

    async def answer(reader, writer):
        opened.append(writer)
        while await reader.read(4096):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    monkeypatch.setattr(admin_client, "IDLE_S", idle_s)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        async with AdminClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", KEY) as admin:
            for _ in range(2):
                assert await admin.get("/policy") == {}
                await asyncio.sleep(0.01)
        for writer in opened:
            await writer.wait_closed()
    assert len(opened) == connections


def test_a_server_keeps_what_is_idle_for_longer():
    assert uvicorn.Config("").timeout_keep_alive > admin_client.IDLE_S


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:9"), ("::1", "http://[::1]:9"), ("localhost", "http://localhost:9")],
)
async def test_of_settings(host, url):
    async with AdminClient.of(Settings(host=host, port=9, admin_key=KEY)) as admin:
        assert admin.url == url
    async with AdminClient.of(Settings(admin_key=KEY), "http://elsewhere/") as admin:
        assert admin.url == "http://elsewhere"
