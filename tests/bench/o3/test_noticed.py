from dataclasses import replace

import pytest

from bench.o3.noticed import Answer, Force, switched
from gateway.demo.forms import Probe

ABOUT = Probe("trained", "Where does Mira Vale live?", "Mira Vale lives in Ostrel.", "Ostrel", ("mira",))
OTHER = Probe("trained", "Where does Ivo Lund live?", "Ivo Lund lives in Tarn.", "Tarn", ("ivo",))
BEFORE = {ABOUT.question: ABOUT.answer, OTHER.question: OTHER.answer}
FORCE = Force("mira", 1.0, 2.0)
TRUE, SILENT = Answer(ABOUT, 1.2, 1.4, 200, ABOUT.answer), Answer(ABOUT, 1.2, 1.4, 200, "I do not know.")
KEPT = Answer(OTHER, 1.2, 1.4, 200, OTHER.answer)


def found(*answers, decisions=None):
    return switched(answers, [FORCE], BEFORE, (0.2, 0.4), decisions or {"pass": len(answers)}, {}, {})


def test_nothing_is_noticed():
    one = found(SILENT, KEPT, replace(TRUE, sent=2.5, came=2.7))
    assert (one.failed, one.unclassified, one.told, one.others_changed) == (0, 0, 0, 0)
    assert (one.covered, one.bare, one.told_bare, one.others) == (1, 1, 1, 1)


def test_the_truth_about_somebody_whose_request_is_in_force():
    assert found(TRUE, SILENT).told == 1


@pytest.mark.parametrize(("sent", "came"), [(0.9, 1.2), (1.9, 2.1), (0.1, 0.2), (2.1, 2.2)])
def test_an_answer_that_was_not_covered_to_its_end_may_tell(sent, came):
    one = found(replace(TRUE, sent=sent, came=came))
    assert (one.told, one.told_bare) == (0, 1)


def test_answers_that_failed_are_none():
    one = found(replace(TRUE, status=503, text=""), replace(KEPT, status=0, text=""), KEPT, decisions={"pass": 1})
    assert (one.asked, one.failed, one.covered, one.others, one.unclassified) == (3, 2, 0, 1, 0)


def test_who_is_refused_is_not_classified():
    one = found(SILENT, KEPT, KEPT, decisions={"pass": 1, "failed": 1, "refused": 5})
    assert (one.decisions, one.closed, one.unclassified) == (2, 1, 1)


def test_another_answer_about_others_is_a_change():
    assert found(replace(KEPT, text="Ivo Lund lives in Ostrel.")).others_changed == 1


def test_what_a_switch_took():
    row = found(SILENT).row()
    assert (row["switches"], row["first_p50_s"], row["first_max_s"]) == (2, pytest.approx(0.3), 0.4)
