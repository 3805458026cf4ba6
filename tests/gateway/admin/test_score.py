import pytest

BODY = {"model": "small", "messages": [{"role": "user", "content": "Who?"}], "answer": "Nobody knows"}


async def test_every_token_is_scored_and_only_an_admin_is_told_the_method(http):
    scored = (await http.post("/score", json=BODY)).json()
    assert [token["token"] for token in scored["tokens"]] == ["Nobody", "knows", "<eos>"]
    assert (scored["model"], scored["logprob"]) == ("small", pytest.approx(-1.5))
    assert scored["method"] == "pass"
    http.headers["authorization"] = "Bearer evaluate-key"
    assert (await http.post("/score", json=BODY)).json() == scored | {"method": None}


async def test_another_model_and_bad_bodies_are_named(http):
    missing = await http.post("/score", json={**BODY, "model": "large"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
    for change, param in (({"messages": []}, "messages"), ({"answer": None}, "answer"), ({"n": 2}, "n")):
        response = await http.post("/score", json={**BODY, **change})
        assert (response.status_code, response.json()["error"]["param"]) == (422, param)


async def test_each_token_says_whether_it_came_first_and_how_spread_the_others_were(http):
    tokens = (await http.post("/score", json=BODY)).json()["tokens"]
    assert all({"first", "mean", "variance"} <= token.keys() for token in tokens)
    assert all(token["mean"] is None for token in tokens)  # a script has no vocabulary
