from bench.report.found import Found
from bench.report.pictures import overview, pictures


def names(found):
    return [one.name for one in pictures(found)]


def of(stream, name, **tables):
    """Another result with these tables."""
    head = {key: stream[key] for key in ("commit", "config", "seed", "machine", "figures")}
    return Found.of({"name": name, **head, **tables})


def test_nothing_is_drawn_of_a_result_without_tables(stream):
    for name in ("eco", "guard", "leak", "load", "muse", "o3", "replay", "tofu", "uld", "another"):
        assert names(of(stream, name)) == []


def test_the_worst_stream_is_drawn(stream):
    found = Found.of(stream)
    assert names(found) == ["o3-persistence", "o3-one-and-many"]
    assert "at most 5.0 points" in pictures(found)[0].description


def test_methods_stand_in_one_plane(stream):
    (drawn,) = overview({"o3": Found.of(stream)})
    assert "O3, as served: others&#x27; correct answers as a share of before, % 99" in drawn.svg
    assert "O3 alone, on everything" in drawn.svg
    assert "ECO" not in drawn.svg
    assert list(overview({})) == []


def test_curves_of_leak_are_a_line_a_row(stream):
    curves = [{"row": row, "k": k, "value": 0.1 * k} for row in ("full", "eco") for k in (1, 2, 4)]
    (drawn,) = pictures(of(stream, "leak", curves=curves))
    assert drawn.svg.count("<polyline") == 2


def test_tofu_stands_beside_what_others_report(stream):
    rows = [
        {"split": "forget10", "row": "full", "forget_quality": 1e-9, "model_utility": 0.8},
        {"split": "forget10", "row": "eco", "forget_quality": 0.2, "model_utility": 0.6},
        {"split": "forget01", "row": "eco", "forget_quality": None, "model_utility": 0.6},  # of few questions
    ]
    (drawn,) = pictures(of(stream, "tofu", rows=rows))
    assert drawn.name == "tofu-forget10"
    assert "eco: share of full model utility 0.75, forget quality, p 0.2" in drawn.svg
    assert "ULD, reported: share of full model utility 0.9873, forget quality, p 0.52" in drawn.svg
    assert "GradDiff, reported: share of full model utility 0.9236, forget quality, p 0" in drawn.svg


def test_leak_is_drawn_by_size_and_by_request(stream):
    rows = [
        {"row": row, "seed": seed, "forgotten": n, "share": n / 64, "leak": 4.0 * seed, "leak_of_first": 0.5}
        for row in ("eco", "o3")
        for seed in (1, 2)
        for n in (3, 13)
    ]
    size, request = pictures(of(stream, "muse", scalability=rows, sustainability=rows))
    assert (size.name, request.name) == ("muse-scalability", "muse-sustainability")
    assert size.svg.count("<polyline") == 2
    assert "eco: forgotten of all people, % 20.31" in size.svg
    assert "points 6" in size.svg  # the mean of both seeds
    assert "o3: requests so far 13" in request.svg


def test_a_replay_stands_beside_the_model_that_never_learnt(stream):
    row = {"split": "forget01", "filed": "names", "set": "forget", "after": 0.1, "low": 0.0, "high": 0.2}
    (drawn,) = pictures(of(stream, "replay", sets=[row | {"retain_model": 0.4}, row | {"set": "retain"}]))
    assert drawn.svg.count("<polygon") == 2  # one of them in the key
    assert "the model that never learnt 0.4" in drawn.svg
