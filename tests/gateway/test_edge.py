import logging

import httpx
import pytest
from fastapi import FastAPI, Query
from pydantic import BaseModel
from starlette.responses import Response

from adapters.base import EngineUnavailable
from gateway.edge import Edge, install
from gateway.errors import Conflict, Overloaded
from guards.base import GuardError

SECRET = "Mara Lindqvist"


class Body(BaseModel):
    name: int


def make():
    app = FastAPI()
    install(app)

    @app.get("/fine/{id}")
    async def fine(id: str):
        return Response("ok", headers={"x-own": "kept"})

    @app.get("/raises/{kind}")
    async def raises(kind: str):
        raise {
            "conflict": Conflict("taken", param="subject"),
            "overloaded": Overloaded("full"),
            "engine": EngineUnavailable(SECRET),
            "guard": GuardError(SECRET),
            "foreign": RuntimeError(SECRET),
        }[kind]

    @app.post("/body")
    async def body(body: Body, limit: int = Query(1)):
        return {}

    return app


class Client:
    def __init__(self):
        self.counted = []
        edge = Edge(make(), lambda endpoint, status: self.counted.append((endpoint, status)))
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(edge), base_url="http://lethe")


@pytest.fixture
async def client():
    made = Client()
    async with made.http:
        yield made


async def test_a_harmless_request_id_comes_back(client):
    response = await client.http.get("/fine/1", headers={"x-request-id": "abc-1.2:3_4"})
    assert response.headers["x-request-id"] == "abc-1.2:3_4"
    assert response.headers["x-own"] == "kept"


@pytest.mark.parametrize(
    "given", [b"", b"a b", b"x" * 129, b"a\r\nset-cookie: b=c", b"a\n", "é".encode("latin-1"), b"<b>"]
)
async def test_any_other_is_replaced(client, given):
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/fine/1",
        "raw_path": b"/fine/1",
        "query_string": b"",
        "headers": [(b"x-request-id", given)],
        "scheme": "http",
        "server": ("lethe", 80),
        "client": ("test", 1),
        "root_path": "",
    }
    await Edge(make(), lambda endpoint, status: None)(scope, receive, send)
    found = [value for name, value in sent[0]["headers"] if name == b"x-request-id"]
    assert len(found) == 1
    assert len(found[0]) == 32
    assert found[0].isalnum()


async def test_responses_are_counted_by_route_and_never_by_id(client):
    await client.http.get("/fine/fr_1")
    await client.http.get("/raises/conflict")
    await client.http.get("/nowhere/fr_1")
    assert client.counted == [("/fine/{id}", 200), ("/raises/{kind}", 409), ("unknown", 404)]


@pytest.mark.parametrize(
    ("kind", "status", "param"),
    [("conflict", 409, "subject"), ("overloaded", 429, None), ("engine", 503, None), ("guard", 500, None)],
)
async def test_our_errors_have_openais_shape(client, kind, status, param):
    response = await client.http.get(f"/raises/{kind}")
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (status, param)
    assert set(error) == {"message", "type", "param", "code"}
    assert SECRET not in response.text
    assert ("retry-after" in response.headers) == (status in (429, 503))


async def test_a_foreign_error_is_answered_and_logged_by_place_alone(client, caplog):
    with caplog.at_level(logging.DEBUG):
        response = await client.http.get("/raises/foreign", headers={"x-request-id": "find-me"})
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"
    assert response.headers["x-request-id"] == "find-me"
    assert client.counted == [("/raises/{kind}", 500)]
    logged = " ".join(record.getMessage() for record in caplog.records)
    assert "find-me: RuntimeError at tests/gateway/test_edge.py:" in logged
    assert SECRET not in caplog.text
    assert SECRET not in response.text


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("GET", "/nowhere", None, 404, None),
        ("DELETE", "/fine/1", None, 405, None),
        ("POST", "/body", {"name": SECRET}, 422, "name"),
        ("POST", "/body", {}, 422, "name"),
        ("POST", "/body?limit=x", {"name": 1}, 422, "limit"),
        ("POST", "/body", None, 422, "body"),
    ],
)
async def test_the_frameworks_errors_have_it_too(client, method, path, body, status, param):
    response = await client.http.request(method, path, json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)
    assert SECRET not in response.text


async def test_what_fails_below_the_error_handlers_is_still_answered():
    async def broken(scope, receive, send):
        raise KeyError(SECRET)

    counted = []
    edge = Edge(broken, lambda *response: counted.append(response))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(edge), base_url="http://lethe") as http:
        response = await http.get("/")
    assert (response.status_code, counted) == (500, [("unknown", 500)])
    assert SECRET not in response.text


async def test_other_protocols_pass_untouched():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    await Edge(app, lambda endpoint, status: None)({"type": "lifespan"}, None, None)
    assert seen == ["lifespan"]
