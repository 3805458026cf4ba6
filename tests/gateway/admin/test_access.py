import pytest

from gateway.admin.access import number_of
from gateway.errors import Invalid

ROUTES = [
    ("POST", "/forget-requests"),
    ("GET", "/forget-requests"),
    ("GET", "/forget-requests/fr_1"),
    ("GET", "/forget-requests/fr_1/events"),
    ("GET", "/forget-requests/fr_1/report"),
    ("GET", "/forget-requests/fr_1/report/persistence.svg"),
    ("POST", "/forget-requests/fr_1/verify"),
    ("POST", "/forget-requests/fr_1/retire"),
    ("POST", "/forget-requests/fr_1/rollback"),
    ("POST", "/check"),
    ("POST", "/score"),
    ("GET", "/policy"),
    ("PUT", "/policy"),
    ("GET", "/policy/versions"),
    ("POST", "/policy/rollback"),
    ("GET", "/audit"),
    ("GET", "/audit/verify"),
]


def test_every_route_is_in_the_list(app):
    described = app.openapi()["paths"]
    found = {
        (method.upper(), path.removeprefix("/admin/v1").replace("{id}", "fr_1"))
        for path, methods in described.items()
        for method in methods
    }
    assert found == set(ROUTES)


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_only_the_admin_key_comes_in(http, method, path):
    for key, status in (("client-key", 403), ("nonsense", 401), (None, 401)):
        http.headers["authorization"] = f"Bearer {key}" if key else ""
        response = await http.request(method, path, json={"colour": 1})
        assert response.status_code == status
        assert response.json()["error"]["code"] == {403: "insufficient_scope", 401: "invalid_api_key"}[status]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_key_to_evaluate_with_scores_and_does_nothing_else(http, method, path):
    http.headers["authorization"] = "Bearer evaluate-key"
    response = await http.request(method, path, json={"colour": 1})
    assert response.status_code == (422 if path == "/score" else 403)


@pytest.mark.parametrize("path", ["/forget-requests", "/check", "/score"])
async def test_bodies_are_limited_and_must_be_json(http, path):
    response = await http.post(path, content=b"x" * 20_001, headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert "20000" in response.json()["error"]["message"]
    for broken, status in ((b"{", 400), (b"\xff", 400), (b"", 422)):
        response = await http.post(path, content=broken, headers={"content-type": "application/json"})
        assert response.status_code == status
        assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(("value", "number"), [("3", 3), ('"3"', 3), ('W/"3"', 3), (" 12 ", 12)])
def test_a_header_holds_a_number(value, number):
    assert number_of("If-Match", value) == number


@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "٣", "9" * 10])
def test_or_it_is_named(value):
    with pytest.raises(Invalid) as caught:
        number_of("If-Match", value)
    assert caught.value.param == "If-Match"
