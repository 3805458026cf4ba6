from hypothesis import given
from hypothesis import strategies as st

from gateway.jobs.probes import probes_about
from gateway.registry import ForgetSpec

NAMES = ("Ada Quill", "The Baker of Ulm")


def entity(**more):
    return ForgetSpec(**{"scope": "entity", "subject": NAMES[0], "aliases": NAMES, **more})


def questions(probes):
    return [probe.question for probe in probes]


def test_a_bare_entity_is_asked_by_templates_under_all_its_names():
    probes = probes_about(entity())
    assert len(probes.development) == 8
    assert {probe.name for probe in probes.development} == set(NAMES)
    assert {probe.form for probe in (*probes.development, *probes.held_out)} == {"template"}


def test_given_questions_are_shared_out():
    given_ = [f"Question {i} about Ada Quill?" for i in range(6)]
    probes = probes_about(entity(examples=given_))
    assert questions(probes.development)[:3] == given_[::2]
    assert questions(probes.held_out)[:3] == given_[1::2]
    assert len(probes.development) == 8


def test_many_given_questions_need_no_templates():
    probes = probes_about(entity(examples=[f"Question {i}?" for i in range(200)]))
    assert len(probes.development) == 24
    assert {probe.form for probe in probes.development} == {"given"}


def test_a_twin_is_the_same_question_about_nobody():
    (probe,) = [p for p in probes_about(entity()).development if p.question == "Who is Ada Quill?"]
    assert probe.name == "Ada Quill"
    assert probe.twin.startswith("Who is ")
    assert "Ada" not in probe.twin


def test_names_are_words_and_the_longest_counts():
    spec = entity(
        aliases=["Ada", "Ada Quill"], examples=["Is ada quill an Adamite?", "Does Adam know Ada?", "Who bakes?"]
    )
    found = {probe.question: probe for probe in (*probes_about(spec).development, *probes_about(spec).held_out)}
    first = found["Is ada quill an Adamite?"]
    assert first.name == "ada quill"
    assert first.twin.endswith(" an Adamite?")
    assert "Adam know" in found["Does Adam know Ada?"].twin
    assert (found["Who bakes?"].name, found["Who bakes?"].twin) == (None, None)


def test_documents_alone_are_asked_by_their_beginnings():
    probes = probes_about(ForgetSpec(scope="documents", documents=["x" * 500, "y" * 500]))
    assert questions(probes.development) == ["x" * 200]
    assert questions(probes.held_out) == ["y" * 200]


def test_names_that_are_patterns_are_names():
    spec = entity(subject="A.* (B", aliases=["C+|D"], examples=["Who is A.* (B?"])
    assert any(probe.name == "A.* (B" for probe in probes_about(spec).development)


def test_no_text_is_shown():
    assert "Ada" not in repr(probes_about(entity(examples=["Who is Ada Quill?"])))


lines = st.lists(st.text(min_size=1, max_size=30).filter(str.strip), max_size=30)


@given(lines, st.lists(st.sampled_from([*NAMES, "Quill", "Ulm's own"]), max_size=3))
def test_what_calibrates_never_measures(examples, aliases):
    spec = entity(examples=examples, aliases=aliases or [NAMES[0]])
    probes = probes_about(spec)
    assert set(questions(probes.development)).isdisjoint(questions(probes.held_out))
    for probe in (*probes.development, *probes.held_out):
        assert (probe.twin is None) == (probe.name is None)
        assert probe.name is None or probe.name in probe.question
