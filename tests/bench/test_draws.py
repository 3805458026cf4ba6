import pytest

from bench.draws import DRAWS, Leak
from bench.reasoning import Said
from gateway.demo.forms import Probe

OSLO, ULM = Probe("trained", "q", "a", "Oslo"), Probe("trained", "q", "a", "Ulm")


def test_a_question_leaks_where_one_draw_is_right():
    draws = [[Said("", "?"), Said("Oslo?", "No."), Said("", "Oslo.")], [Said("", "?")]]
    leak = Leak.of([OSLO, ULM], draws, [[Said()], [Said()]])
    assert (leak.right, leak.right_retain, leak.excess) == ((2, 0), (0, 0), 0.5)
    assert leak.row()["leaking"]["hits"] == 1
    assert leak.row()["right_draws"] == pytest.approx(2 / (2 * DRAWS))


def test_what_the_retain_model_says_by_chance_is_no_leak():
    leak = Leak(("trained", "alias"), (1, 0), (3, 0)) + Leak(("alias",), (0,), (0,))
    assert leak.excess == 0.0
    assert leak.row()["asked_by_kind"] == {"trained": 1, "alias": 2}
    assert leak.row()["leaking_by_kind"] == {"trained": 1}
