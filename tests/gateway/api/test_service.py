import pytest


async def test_models(gateway):
    gate = gateway()
    listed = (await gate.http.get("/v1/models")).json()
    assert [model["id"] for model in listed["data"]] == ["scripted"]
    assert (await gate.http.get("/v1/models/scripted")).json() == listed["data"][0]
    missing = await gate.http.get("/v1/models/org/other")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


async def test_health_needs_no_engine_and_readiness_does(gateway):
    gate = gateway(api_keys=("client-key",))
    assert (await gate.http.get("/health")).status_code == 200
    assert (await gate.http.get("/ready")).status_code == 200
    gate.engine.up = False
    assert (await gate.http.get("/health")).status_code == 200
    assert (await gate.http.get("/ready")).status_code == 503
    assert (await gate.http.get("/v1/models")).status_code == 401


@pytest.mark.parametrize(
    ("host", "key", "status"),
    [
        ("127.0.0.1", None, 401),
        ("127.0.0.1", "admin-key", 200),
        ("0.0.0.0", None, 401),
        ("0.0.0.0", "client-key", 403),
        ("0.0.0.0", "admin-key", 200),
    ],
)
async def test_metrics_are_for_the_admin_where_others_can_reach_them(gateway, host, key, status):
    gate = gateway(host=host, api_keys=("client-key",), admin_key="admin-key")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    assert (await gate.http.get("/metrics", headers=headers)).status_code == status


async def test_metrics_say_nothing_of_what_is_forgotten(gateway):
    gate = gateway()
    await gate.chat("Who is Ada Quill?")
    text = (await gate.http.get("/metrics")).text
    assert 'lethe_decisions_total{decision="touched"} 1.0' in text
    assert 'endpoint="/v1/chat/completions"' in text
    assert "Ada" not in text
    assert "fr_1" not in text
