import httpx
import pytest

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


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:9"), ("::1", "http://[::1]:9"), ("localhost", "http://localhost:9")],
)
async def test_of_settings(host, url):
    async with AdminClient.of(Settings(host=host, port=9, admin_key=KEY)) as admin:
        assert admin.url == url
    async with AdminClient.of(Settings(admin_key=KEY), "http://elsewhere/") as admin:
        assert admin.url == "http://elsewhere"
