import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from gateway.registry import Drift, Leak, Matrix, Rate, Step
from gateway.registry.matrix import drift, student_tail

IDS = ("a", "b", "c", "d")


def step(after, ended=(), **hits):
    leak = tuple(Leak(request=id_, rate=Rate.over(hit, 10)) for id_, hit in hits.items())
    return Step(after=after, leak=leak, utility=Rate.over(9, 10), ended=ended)


counts = st.integers(1, 12).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of)))
steps = st.builds(
    lambda after, asked: Step(
        after=after,
        leak=tuple(Leak(request=id_, rate=Rate.over(*count)) for id_, count in asked.items()),
        utility=Rate.over(1, 1),
    ),
    st.sampled_from(IDS),
    st.dictionaries(st.sampled_from(IDS), counts),
)


def test_rows_follow_the_steps_and_remember_what_was_asked_before():
    matrix = Matrix().then(step("a", a=0)).then(step("b", a=1, b=0)).then(step("c", ("b",), c=2)).then(step("d", a=4))
    assert [*matrix.rows] == ["a", "b", "c"]
    assert {t: rate.hits for t, rate in matrix.rows["a"].items()} == {0: 0, 1: 1, 3: 4}
    assert matrix.interference["a"] == {1: pytest.approx(0.1), 3: pytest.approx(0.3)}
    assert matrix.interference["b"] == {}
    assert matrix.asked == {"a": 3, "b": 1, "c": 2}
    assert matrix.ended == {"b": 2}


def test_where_nothing_told_the_cell_is_empty_and_the_turn_is_over():
    silent = Step(after="a", leak=(Leak(request="a", rate=Rate.over(0, 0)),), utility=Rate.over(1, 1))
    matrix = Matrix((silent,))
    assert (matrix.rows, matrix.asked) == ({"a": {}}, {"a": 0})
    assert matrix.drift() is None


@given(st.lists(steps, max_size=12))
def test_changes_add_up_from_the_first_cell_to_the_last(found):
    matrix = Matrix()
    for one in found:
        matrix = matrix.then(one)
    assert matrix == Matrix(tuple(found))
    assert sum(map(len, matrix.rows.values())) == sum(len(one.leak) for one in found)
    for request, row in matrix.rows.items():
        values = [rate.value for rate in row.values()]
        assert [*row] == sorted(row)
        assert max(row) == matrix.asked[request]
        assert math.fsum(matrix.interference[request].values()) == pytest.approx(values[-1] - values[0])


@given(st.lists(steps, max_size=12), st.floats(-0.5, 0.5))
def test_a_slope_more_is_a_slope_more_whatever_the_levels(found, more):
    rows = [[(t, rate.value) for t, rate in row.items()] for row in Matrix(tuple(found)).rows.values()]
    risen = [[(t, value + 7 * i + more * t) for t, value in row] for i, row in enumerate(rows)]
    before, after = drift(rows), drift(risen)
    assert (before is None) == (after is None) == (sum(len(row) > 1 for row in rows) < 2)
    if before and after:
        assert 0 <= after.p <= 1
        assert after.slope == pytest.approx(before.slope + more, abs=1e-9)


@given(st.lists(steps, max_size=12))
def test_upward_is_downward_turned_over(found):
    rows = [[(t, rate.value) for t, rate in row.items()] for row in Matrix(tuple(found)).rows.values()]
    there, back = drift(rows), drift([[(-t, value) for t, value in row] for row in rows])
    if there and back and there.slope and 0 < there.p < 1:
        assert there.p + back.p == pytest.approx(1, abs=1e-6)


def test_nothing_that_moves_speaks_for_no_drift():
    still = [[(t, 0.1) for t in range(i, 9)] for i in range(5)]
    assert drift(still) == Drift(0.0, 1.0)
    assert drift(still[:1]) is None
    assert drift([[(t, value + 0.01 * t) for t, value in row] for row in still]) == (pytest.approx(0.01), 0.0)
    assert drift([[(t, value - 0.01 * t) for t, value in row] for row in still]) == (pytest.approx(-0.01), 1.0)


def test_one_request_that_comes_back_is_no_drift_of_all_and_many_are():
    still = [[(t, 0.0) for t in range(10)] for _ in range(9)]
    one = [(t, 0.1 * t) for t in range(10)]
    alone = drift([*still, one])
    assert alone
    assert alone.slope == pytest.approx(0.01)
    assert alone.p > 0.15
    many = drift([*still[:2], *([(t, (0.01 + 0.001 * i) * t) for t in range(10)] for i in range(8))])
    assert many
    assert many.p < 0.001


@pytest.mark.parametrize("free", [1, 2, 7, 400, 8000])
@pytest.mark.parametrize("value", [-3.0, -0.2, 0.0, 0.7, 2.5, 6.0])
def test_the_tail_is_students(value, free):
    assert student_tail(value, free) == pytest.approx(student.sf(value, free), rel=1e-3)
