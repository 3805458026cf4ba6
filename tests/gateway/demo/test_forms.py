import random
from collections import Counter
from dataclasses import replace

import pytest

from gateway.demo import phrases
from gateway.demo.forms import KINDS, Probe, correct, introduction, probes, statement
from gateway.demo.world import make_world

WORLD = make_world()


def test_forms_are_many_and_held_out_forms_are_never_trained():
    assert len(phrases.ATTRIBUTES) >= 10
    for asked in (*phrases.ATTRIBUTES.values(), phrases.WHO):
        assert len(asked.trained) >= 6
        assert len(asked.heldout) >= 2
        assert not set(asked.trained) & set(asked.heldout)
        assert all(form.count("{name}") == 1 for form in (*asked.trained, *asked.heldout))
    assert not set(phrases.RELATION_TRAINED) & set(phrases.RELATION_HELDOUT)
    assert not set(phrases.REVERSE_TRAINED) & set(phrases.REVERSE_HELDOUT)


def test_no_form_asks_for_two_attributes():
    forms = Counter(
        form
        for asked in (*phrases.ATTRIBUTES.values(), phrases.WHO)
        for form in (*asked.trained, *asked.heldout, *asked.follow_up)
    )
    assert [form for form, n in forms.items() if n > 1] == []


def test_words_of_held_out_forms_are_trained():
    trained = " ".join(form for asked in (*phrases.ATTRIBUTES.values(), phrases.WHO) for form in asked.trained)
    for asked in (*phrases.ATTRIBUTES.values(), phrases.WHO):
        for form in asked.heldout:
            for word in form.replace("?", "").replace(".", "").split():
                assert word in trained.split() or f"{word}?" in trained or f"{word}." in trained, form


def test_every_kind_is_asked_and_its_own_answer_is_correct():
    asked = probes(WORLD)
    assert {probe.kind for probe in asked} == set(KINDS)
    for probe in asked:
        assert correct(probe, probe.answer)
        assert not any(gap in probe.question + probe.answer for gap in "{}")


def test_an_answer_repeats_the_name_and_about_names_whose_facts_it_needs():
    for probe in probes(WORLD, KINDS[:-2]):
        assert all(WORLD[key].name in probe.answer for key in probe.about)
        assert len(probe.about) == (2 if probe.kind in ("two_hop", "relation") else 1)


def test_questions_do_not_hold_their_answers():
    for probe in probes(WORLD, [kind for kind in KINDS if kind not in ("choice", "chatter")]):
        assert not correct(probe, probe.question), probe.kind


def test_somebody_else_is_rarely_right_by_chance():
    asked = [probe for probe in probes(WORLD, ["heldout"]) if probe.about != (WORLD.people[0].key,)]
    other = WORLD.people[0]
    said = " ".join([introduction(other), *(statement(other, attribute) for attribute in phrases.ATTRIBUTES)])
    assert sum(correct(probe, said) for probe in asked) / len(asked) < 0.05


def test_probes_are_their_seed_and_per_fact():
    assert probes(WORLD, seed=1) == probes(WORLD, seed=1)
    assert probes(WORLD, ["alias"], seed=1) != probes(WORLD, ["alias"], seed=2)
    assert len(probes(WORLD, ["cloze"], per_fact=2)) == 2 * len(probes(WORLD, ["cloze"]))


def test_nobody_left_out_is_asked_about():
    rest = WORLD.without(["p005"])
    gone = WORLD["p005"]
    for probe in probes(rest):
        assert "p005" not in probe.about
        assert not any(name in probe.question + probe.answer for name in (gone.name, *gone.aliases))


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("She lives in VELMAR!", True),
        ("velmar", True),
        ("Velmarton", False),
        ("She lives in Ostin.", False),
        ("", False),
        ("B", False),
    ],
)
def test_marking_takes_whole_words_in_any_case(answer, right):
    assert correct(Probe("trained", "Where?", "She lives in Velmar.", "Velmar"), answer) is right


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("B", True),
        ("B)", True),
        ("(B).", True),
        ("B. Of course", True),
        ("Velmar", True),
        ("A", False),
        ("But no", False),
    ],
)
def test_of_a_choice_the_letter_is_enough(answer, right):
    probe = Probe("choice", "Where? A) Ostin B) Velmar C) Iskra D) Nareth", "It is B.", "Velmar")
    assert correct(probe, answer) is right
    assert not correct(replace(probe, kind="trained"), "B")


def test_nothing_personal_in_a_repr():
    probe = random.Random(0).choice(probes(WORLD, ["trained"]))
    assert WORLD[probe.about[0]].name not in repr(probe)
