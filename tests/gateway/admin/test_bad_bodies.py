import pytest

ENTITY = '{"scope":"entity","subject":"Ada Quill","aliases":["Ada Quill"],%s}'


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/check", '{"text":"a","answer":"\\ud800"}'),
        ("/check", '{"messages":[{"role":"user","content":"\\ud800"}]}'),
        ("/score", '{"model":"small","answer":"\\ud800","messages":[{"role":"user","content":"a"}]}'),
        ("/forget-requests", ENTITY % '"examples":["\\ud800"]'),
        ("/forget-requests", ENTITY % '"expires_at":NaN'),
        ("/forget-requests", '{"scope":' + "[" * 5_000 + "]" * 5_000 + "}"),
        ("/forget-requests", '{"scope":' + "9" * 5_000 + "}"),
        ("/policy/rollback", '{"version":Infinity}'),
    ],
)
async def test_what_is_no_json_or_no_text_is_a_400(http, core, path, body):
    response = await http.post(path, content=body, headers={"content-type": "application/json", "if-match": "*"})
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert not (await core.registry.page()).items


@pytest.mark.parametrize(
    ("method", "path", "body", "param"),
    [
        ("POST", "/policy/rollback", '{"version":99999999999999999999}', "version"),
        ("POST", "/forget-requests", ENTITY % '"expires_at":"9999-12-31T23:59:59-23:00"', "expires_at"),
        ("POST", "/forget-requests", ENTITY % '"expires_at":99999999999999999999', "expires_at"),
        ("GET", "/audit?cursor=99999999999999999999", None, "cursor"),
        ("GET", "/policy/versions?before=99999999999999999999", None, "before"),
        ("GET", "/forget-requests/fr_1/events?after=99999999999999999999", None, "after"),
        ("GET", "/forget-requests/fr_1/events?after=-1", None, "after"),
    ],
)
async def test_numbers_beyond_all_bounds_name_their_field(http, method, path, body, param):
    headers = {"content-type": "application/json", "if-match": "*"}
    response = await http.request(method, path, content=body, headers=headers)
    assert (response.status_code, response.json()["error"]["param"]) == (422, param)
