import pytest

HIT = {"id": "fr_1", "score": 0.9, "threshold": 0.5, "guard": "lexicon"}


async def test_one_text(http):
    assert (await http.post("/check", json={"text": "Who is Ada?"})).json() == {
        "touched": True,
        "requests": [HIT],
        "plan": "ignorance",
    }


async def test_messages_are_read_as_the_model_would(http, core):
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Who"}, {"type": "text", "text": "is Bo?"}]},
    ]
    assert (await http.post("/check", json={"messages": messages})).json()["plan"] == "pass"
    (seen,) = core.seen
    assert [(turn.role, turn.text) for turn in seen.turns] == [("system", "Be brief."), ("user", "Who\nis Bo?")]


async def test_an_answer_is_checked_too(http):
    found = (await http.post("/check", json={"text": "Who?", "answer": "It is Ada."})).json()
    assert found["answer"] == {"stopped": True, "released": "It is "}


async def test_many_come_back_in_order(http):
    checks = [{"text": f"Who is {'Ada' if i % 3 == 0 else 'Bo'} {i}?"} for i in range(40)]
    found = (await http.post("/check", json={"checks": checks})).json()
    assert list(found) == ["checks"]
    assert [item["touched"] for item in found["checks"]] == [i % 3 == 0 for i in range(40)]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"text": "a", "messages": [{"role": "user", "content": "a"}]}, "messages"),
        ({"text": "a", "checks": [{"text": "a"}]}, "checks"),
        ({"answer": "a", "checks": [{"text": "a"}]}, "checks"),
        ({"checks": []}, "checks"),
        ({"checks": [{"text": "a"}, {"answer": "a"}]}, "checks[1].messages"),
        ({"checks": [{"text": "a"}] * 1001}, "checks"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "a"}]}, "messages[0].role"),
        ({"text": "a", "colour": 1}, "colour"),
    ],
)
async def test_a_bad_check_is_named(http, body, param):
    response = await http.post("/check", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (422, param)
