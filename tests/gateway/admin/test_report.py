from xml.etree import ElementTree

import pytest

from gateway.registry import PERSISTENCE, VERIFICATION, Leak, Probe, Rate, Step, Verification


def verification(method, leaks, passed):
    forget = [
        Probe(
            aim="forget",
            form="alias" if i % 2 else "direct",
            question="q",
            before="b",
            after="a",
            knows_before=True,
            knows_after=i < leaks,
        )
        for i in range(10)
    ]
    kept = Probe(aim="retain", form="direct", question="q", before="b", after="b", knows_before=True, knows_after=True)
    return Verification(method=method, passed=passed, probes=(*forget, kept)).model_dump()


async def test_a_report_adds_up_the_last_round_and_keeps_the_others(http, core, entity):
    id = (await http.post("/forget-requests", json=entity())).json()["id"]
    empty = (await http.get(f"/forget-requests/{id}/report")).json()
    assert (empty["latest"], empty["earlier"], empty["effect"]) == (None, [], "suppressed")
    await core.registry.put_evidence(id, VERIFICATION, verification("eco", 4, False))
    await core.registry.put_evidence(id, "latency", {"ms": 3})
    await core.registry.put_evidence(id, VERIFICATION, verification("ignorance", 1, True))
    report = (await http.get(f"/forget-requests/{id}/report")).json()
    assert [earlier["leak"]["after"]["hits"] for earlier in report["earlier"]] == [4]
    latest = report["latest"]
    assert (latest["method"], latest["passed"], len(latest["probes"])) == ("ignorance", True, 11)
    assert (latest["leak"]["before"]["hits"], latest["leak"]["after"]["hits"]) == (10, 1)
    after = latest["leak"]["after"]
    assert 0 < after["low"] < after["value"] < after["high"] < 1
    assert {form: change["after"]["hits"] for form, change in latest["leak_by_form"].items()} == {
        "alias": 0,
        "direct": 1,
    }
    assert latest["retention"]["after"]["value"] == 1
    assert [(item["kind"], item["data"]) for item in report["other"]] == [("latency", {"ms": 3})]


async def test_after_the_end_nothing_is_suppressed(http, entity):
    id = (await http.post("/forget-requests", json=entity())).json()["id"]
    await http.post(f"/forget-requests/{id}/retire")
    report = (await http.get(f"/forget-requests/{id}/report")).json()
    assert (report["effect"], report["state"], report["method"]) == ("none", "retired", None)


async def filed(http, entity, *names):
    return [(await http.post("/forget-requests", json=entity(name))).json()["id"] for name in names]


async def enforced(core, after, ended=(), **leak):
    """A step: the hits out of ten of each request."""
    rates = tuple(Leak(request=id, rate=Rate.over(hits, 10)) for id, hits in leak.items())
    step = Step(after=after, leak=rates, utility=Rate.over(49, 50), ended=ended)
    await core.registry.put_evidence(after, PERSISTENCE, step.model_dump())


async def test_a_report_tells_whether_what_was_forgotten_stays_so(http, core, entity):
    a, b, c = await filed(http, entity, "Ada Quill", "Bo Tarn", "Cleo Marsh")
    assert (await http.get(f"/forget-requests/{a}/report")).json()["persistence"] is None
    await enforced(core, a, **{a: 0})
    await enforced(core, b, **{a: 2, b: 0})
    await enforced(core, c, (b,), **{a: 3, c: 1})
    report = (await http.get(f"/forget-requests/{b}/report")).json()
    found = report["persistence"]
    assert (found["requests"], found["ended"]) == ([a, b, c], [None, 2, None])
    assert [step["after"] for step in found["steps"]] == [a, b, c]
    assert found["leak"] == [[0.0, 0.2, 0.3], [None, 0.0, None], [None, None, 0.1]]
    assert found["interference"][0] == [None, 0.2, pytest.approx(0.1)]
    assert [rate["value"] for rate in found["utility"]] == [0.98] * 3
    assert found["drift"] is None
    assert report["other"] == []
    await enforced(core, c, **{c: 4})
    drift = (await http.get(f"/forget-requests/{c}/report")).json()["persistence"]["drift"]
    assert drift["slope"] > 0
    assert drift["p"] < 0.5


async def test_a_long_history_shows_its_end_and_the_requests_own_step(http, core, entity, monkeypatch):
    monkeypatch.setattr("gateway.admin.report._STEPS", 2)
    ids = await filed(http, entity, "Ada Quill", "Bo Tarn", "Cleo Marsh", "Dov Peltier")
    for id in ids:
        await enforced(core, id, **{id: 0})
    found = (await http.get(f"/forget-requests/{ids[0]}/report")).json()["persistence"]
    assert [step["after"] for step in found["steps"]] == [ids[0], *ids[2:]]
    assert found["requests"] == [ids[0], *ids[2:]]
    assert found["leak"][0] == [0.0, None, None]


async def test_the_heat_map_tells_no_more_than_numbers(http, core, entity):
    a, b = await filed(http, entity, "Ada Quill", "Bo Tarn")
    none = await http.get(f"/forget-requests/{a}/report/persistence.svg")
    assert (none.status_code, none.json()["error"]["param"]) == (404, "id")
    assert (await http.get("/forget-requests/fr_0/report/persistence.svg")).status_code == 404
    await enforced(core, a, **{a: 0})
    await enforced(core, b, **{a: 3, b: 0})
    found = await http.get(f"/forget-requests/{a}/report/persistence.svg")
    assert (found.status_code, found.headers["content-type"]) == (200, "image/svg+xml")
    figure = ElementTree.fromstring(found.text)
    assert "Highest leak 30.0%, lowest utility 98.0%" in found.text
    assert figure.get("role") == "img"
    assert a[-6:] in found.text
    assert not any(word in found.text for word in (a, b, "Ada", "Quill", "Tarn"))


async def test_the_heat_map_is_for_the_admin(http):
    http.headers["authorization"] = "Bearer client-key"
    assert (await http.get("/forget-requests/fr_0/report/persistence.svg")).status_code == 403
