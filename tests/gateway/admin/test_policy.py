import pytest

DEFAULTS = {"threshold_scale": 1.0, "fallbacks": ["eco", "uld", "o3"], "output_guard": True, "consolidation": "off"}


async def test_a_policy_is_read_replaced_and_rolled_back(http):
    first = await http.get("/policy")
    assert (first.json()["version"], first.json()["policy"], first.headers["etag"]) == (0, DEFAULTS, '"0"')
    assert first.json()["false_positives"] == {"prompts": 300, "touched": 2, "upper": 0.02}
    put = await http.put("/policy", json={"threshold_scale": 0.9}, headers={"if-match": first.headers["etag"]})
    assert (put.status_code, put.headers["etag"], put.json()["policy"]["threshold_scale"]) == (200, '"1"', 0.9)
    await http.put("/policy", json={"output_guard": False}, headers={"if-match": "*"})
    back = await http.post("/policy/rollback", json={"version": 1}, headers={"if-match": '"2"'})
    assert (back.json()["version"], back.json()["policy"]) == (3, {**DEFAULTS, "threshold_scale": 0.9})
    page = (await http.get("/policy/versions", params={"limit": 2})).json()
    assert [(item["version"], item["actor"]) for item in page["data"]] == [(3, "admin"), (2, "admin")]
    rest = (await http.get("/policy/versions", params={"before": page["next_cursor"]})).json()
    assert ([item["version"] for item in rest["data"]], rest["next_cursor"]) == ([1], None)


@pytest.mark.parametrize(
    ("if_match", "status"), [(None, 428), ('"7"', 412), ("abc", 422)], ids=["missing", "stale", "nonsense"]
)
async def test_nobody_overwrites_what_they_have_not_seen(http, core, if_match, status):
    headers = {"if-match": if_match} if if_match else {}
    for method, path, body in (("PUT", "/policy", {}), ("POST", "/policy/rollback", {"version": 1})):
        await core.registry.put_policy({}, if_match=None, actor="other")
        before = await core.registry.policy()
        response = await http.request(method, path, json=body, headers=headers)
        assert (response.status_code, response.json()["error"]["param"]) == (status, "If-Match")
        assert await core.registry.policy() == before


@pytest.mark.parametrize(
    ("body", "param"),
    [({"threshold_scale": 0.1}, "threshold_scale"), ({"fallbacks": ["x"]}, "fallbacks[0]"), ({"colour": 1}, "colour")],
)
async def test_a_bad_policy_is_named(http, body, param):
    response = await http.put("/policy", json=body, headers={"if-match": "0"})
    assert (response.status_code, response.json()["error"]["param"]) == (422, param)


async def test_an_unknown_version_is_a_404(http):
    response = await http.post("/policy/rollback", json={"version": 9}, headers={"if-match": "0"})
    assert response.status_code == 404
