from gateway.registry import VERIFICATION, Probe, Verification


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
