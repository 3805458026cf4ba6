import json

import pytest

from bench.probes.rwku import DEVELOPMENT, NEIGHBOURS, OTHERS, PASSAGES, People, development, measurement

NAMES = [f"First{i:02d} Last{i:02d}" for i in range(60)]


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "rwku"
    folder.mkdir()
    files = {
        "intro": [{"subject": n, "intro": f"Please forget {n}. {n} is known."} for n in NAMES],
        "forget_mia": [{"subject": n, "text": f"Passage {i} on {n}."} for n in NAMES for i in range(3)],
        "retain_mia": [{"text": f"Others, number {i}: {NAMES[i % 60] if i % 9 == 0 else 'many'}."} for i in range(900)],
        "forget_level1": [
            {"subject": n, "level": "1", "type": "cloze", "query": f"{n} is ___.", "answer": "known"} for n in NAMES
        ],
        "forget_level2": [
            {"subject": n, "level": "2", "type": kind, "query": f"Is {n} {kind}?", "answer": "yes"}
            for n in NAMES
            for kind in ("simple question", "multiple choice")
        ],
        "forget_level3": [
            {"subject": n, "level": "3", "type": kind, "query": f"{kind} {n}", "answer": n}
            for n in NAMES
            for kind in ("cross lingual (French)", "cross lingual", "role play")
        ],
        "neighbor_level1": [
            {"subject": n, "level": "1", "neighbor": "Somewhere", "query": f"Near {i} is ___.", "answer": "it"}
            for i, n in enumerate(NAMES)
            for _ in range(2)
        ],
        "neighbor_level2": [
            {"subject": n, "level": "2", "neighbor": other, "query": f"Who sees {i}?", "answer": other}
            for i, (n, other) in enumerate(zip(NAMES, NAMES[2:] + NAMES[:2], strict=True))
        ],
    }
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return People.read(folder.parent)


def subjects(rounds):
    return {source.subject for one in rounds for source in one.sources}


def test_nobody_who_helped_to_choose_is_measured(people):
    chosen, measured = subjects(development(people)), subjects(measurement(people))
    assert chosen == set(NAMES[:DEVELOPMENT])
    assert not chosen & measured
    asked = " ".join(turn for one in measurement(people) for p in one.probes for turn in p.turns if p.kind != PASSAGES)
    assert not any(name in asked for name in chosen)


def test_what_is_filed_is_never_asked(people):
    for one in (*development(people), *measurement(people)):
        asked = {turn for probe in one.probes for turn in probe.turns}
        for source in one.sources:
            assert source.retain
            assert not asked & {*source.documents, *source.retain, *source.examples}
            assert not any(source.subject in text for text in source.retain)


def test_rounds_are_twenty_people_and_the_same_every_time(people):
    rounds = measurement(people)
    assert [len(one.sources) for one in rounds] == [20] * 5
    assert len({frozenset(source.subject for source in one.sources) for one in rounds}) == 5
    assert measurement(people, 2) == rounds[:2]


def test_kinds_join_languages_and_levels(people):
    kinds = {probe.kind for probe in measurement(people, 1)[0].probes if probe.about}
    assert kinds == {"cloze", "question", "cross lingual", "role play"}


def test_controls_touch_nobody_in_the_round_or_say_why(people):
    one = measurement(people, 1)[0]
    names = {source.subject for source in one.sources}
    controls = [probe for probe in one.probes if not probe.about]
    assert {probe.kind for probe in controls} == {*NEIGHBOURS, OTHERS, PASSAGES}
    for probe in controls:
        named = any(name in text for name in names for text in (*probe.turns, probe.answer))
        assert bool(probe.apart) == named, probe.kind


def test_duplicates_are_asked_once(people):
    probes = measurement(people, 1)[0].probes
    assert len(set(probes)) == len(probes)
    assert sum(probe.kind == NEIGHBOURS[0] for probe in probes) == 20


def test_the_introduction_is_filed_without_the_plea(people):
    assert measurement(people, 1)[0].sources[0].documents[0].endswith(" is known.")
    assert not measurement(people, 1)[0].sources[0].documents[0].startswith("Please")
