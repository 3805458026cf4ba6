import pytest

from guards.base import Hit, Verdict

PATH = "/forget-requests"


async def test_filing_answers_with_the_shielded_resource(http, entity):
    response = await http.post(PATH, json=entity(examples=["Who is Ada Quill?"], reference="T-1"))
    assert response.status_code == 202
    made = response.json()
    assert response.headers["location"] == f"/admin/v1/forget-requests/{made['id']}" == made["links"]["self"]
    assert (made["object"], made["state"], made["method"]) == ("forget_request", "shielded", "ignorance")
    assert (made["scope"], made["subject"], made["reference"]) == ("entity", "Ada Quill", "T-1")
    assert (made["requested_method"], made["warnings"], made["counts"]["examples"]) == ("auto", ["a warning"], 1)
    assert (await http.get(f"{PATH}/{made['id']}")).json() == made


async def test_a_resource_says_how_often_it_was_touched(http, core, entity):
    id_ = (await http.post(PATH, json=entity())).json()["id"]
    core.meter.enforcing(1, {id_: "shielded"})
    core.meter.decided(Verdict((Hit(id_, 1.0, 0.5, "g", (0,)),)))
    core.meter.decided(Verdict(near=(Hit(id_, 0.4, 0.5, "g", (0,)),)))
    seen = (await http.get(f"{PATH}/{id_}")).json()
    assert (seen["activity"]["touched"], seen["activity"]["near"]) == (1, 1)
    assert seen["activity"]["since"] == seen["created_at"]


async def test_a_key_makes_one_request(http, entity):
    first = await http.post(PATH, json=entity(), headers={"idempotency-key": "k"})
    again = await http.post(PATH, json=entity(), headers={"idempotency-key": "k"})
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    other = await http.post(PATH, json=entity("Bo Vane"), headers={"idempotency-key": "k"})
    assert (other.status_code, other.json()["error"]["param"]) == (409, "Idempotency-Key")
    long = await http.post(PATH, json=entity("Bo Vane"), headers={"idempotency-key": "k" * 256})
    assert (long.status_code, long.json()["error"]["param"]) == (422, "Idempotency-Key")


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"scope": "entity", "subject": "Ada Quill"}, "aliases", "at least one alias"),
        ({"scope": "entity", "subject": "", "aliases": ["Ada Quill"]}, "subject", "1 character"),
        ({"scope": "entity", "subject": "Ada", "aliases": ["Ada Quill", "Q"]}, "aliases[1]", "single character"),
        ({"scope": "entity", "subject": "Ada", "aliases": ["Ada Quill"], "color": "red"}, "color", "unknown"),
        ({"scope": "facts", "facts": [{"question": "Who?"}]}, "facts[0].answer", "required"),
        ({"scope": "topic", "examples": ["one"]}, "examples", "at least 3"),
        ({"scope": "entity", "subject": "Ada", "aliases": ["a b"] * 65}, "aliases", "64"),
        ([], "body", ""),
    ],
)
async def test_bad_input_is_named_and_nothing_is_stored(http, core, body, param, says):
    response = await http.post(PATH, json=body)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (422, param)
    assert says in error["message"]
    assert await core.registry.revision() == 0
    assert await core.registry.audits() == ()


async def test_a_duplicate_names_the_first(http, entity):
    first = (await http.post(PATH, json=entity())).json()
    response = await http.post(PATH, json=entity())
    assert (response.status_code, response.json()["error"]["param"]) == (409, "subject")
    assert first["id"] in response.json()["error"]["message"]


async def test_a_shield_that_cannot_be_raised_is_a_503(http, core, entity):
    core.lifecycle.broken = True
    response = await http.post(PATH, json=entity())
    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")


async def test_a_list_comes_in_pages(http, entity):
    ids = [(await http.post(PATH, json=entity(f"Person {i}"))).json()["id"] for i in range(5)]
    await http.post(f"{PATH}/{ids[0]}/retire")
    found, cursor = [], None
    while True:
        page = (await http.get(PATH, params={"limit": 2, **({"cursor": cursor} if cursor else {})})).json()
        found += [item["id"] for item in page["data"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert sorted(found) == sorted(ids)
    assert len(found) == 5
    retired = (await http.get(PATH, params={"state": "retired"})).json()
    assert [item["id"] for item in retired["data"]] == [ids[0]]


@pytest.mark.parametrize(
    ("query", "param"), [({"state": "asleep"}, "state"), ({"limit": 0}, "limit"), ({"cursor": "fr_x"}, "cursor")]
)
async def test_a_bad_query_is_named(http, query, param):
    response = await http.get(PATH, params=query)
    assert (response.status_code, response.json()["error"]["param"]) == (422, param)


@pytest.mark.parametrize(("move", "state"), [("retire", "retired"), ("rollback", "rolled_back")])
async def test_a_request_ends_once(http, entity, move, state):
    id = (await http.post(PATH, json=entity())).json()["id"]
    ended = await http.post(f"{PATH}/{id}/{move}")
    assert (ended.status_code, ended.json()["state"], ended.json()["method"]) == (200, state, None)
    assert (await http.post(f"{PATH}/{id}/{move}")).status_code == 409
    assert (await http.post(f"{PATH}/{id}/verify")).status_code == 409


@pytest.mark.parametrize("path", ["fr_0", "fr_0/events", "fr_0/report"])
async def test_what_is_not_there_is_a_404(http, path):
    assert (await http.get(f"{PATH}/{path}")).status_code == 404


async def test_every_change_is_audited_with_its_actor(http, entity):
    id = (await http.post(PATH, json=entity())).json()["id"]
    await http.post(f"{PATH}/{id}/retire")
    await http.put("/policy", json={"output_guard": False}, headers={"if-match": "0"})
    entries = (await http.get("/audit")).json()["data"]
    assert [(entry["actor"], entry["action"], entry["object"]) for entry in entries] == [
        ("admin", "policy.put", "policy/1"),
        ("admin", "forget_request.retired", id),
        ("admin", "forget_request.shielded", id),
        ("admin", "forget_request.created", id),
    ]
