import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import binomtest

from gateway.registry import Leak, Probe, Rate, Step, Verification


@given(st.integers(1, 500), st.data())
def test_the_interval_is_wilsons(of, data):
    hits = data.draw(st.integers(0, of))
    rate = Rate.over(hits, of)
    expected = binomtest(hits, of).proportion_ci(method="wilson")
    assert math.isclose(rate.low, expected.low, abs_tol=1e-9)
    assert math.isclose(rate.high, expected.high, abs_tol=1e-9)
    assert 0 <= rate.low <= rate.value <= rate.high <= 1


def test_of_nothing_nothing_is_known():
    rate = Rate.over(0, 0)
    assert (rate.low, rate.high) == (0, 1)


def probe(aim, form, before, after):
    return Probe(aim=aim, form=form, question="q", before="b", after="a", knows_before=before, knows_after=after)


def test_leak_and_retention_are_counted_apart():
    found = Verification(
        method="eco",
        passed=True,
        probes=(
            probe("forget", "direct", True, False),
            probe("forget", "direct", True, True),
            probe("forget", "alias", False, False),
            probe("retain", "direct", True, True),
        ),
    )
    leak, retention = found.leak(), found.retention()
    assert (leak.before.hits, leak.after.hits, leak.after.of) == (2, 1, 2)
    assert (retention.before.value, retention.after.value, retention.after.of) == (1, 1, 1)
    assert {form: change.after.value for form, change in found.leak_by_form().items()} == {
        "alias": 0,
        "direct": pytest.approx(0.5),
    }
    assert "question" not in repr(found.probes[0])


def test_a_step_comes_back_as_it_was_kept_and_holds_nothing_else():
    step = Step(after="b", leak=(Leak(request="a", rate=Rate.over(1, 6)),), utility=Rate.over(9, 9), ended=("c",))
    kept = step.model_dump(mode="json")
    assert Step.model_validate_json(step.model_dump_json()) == Step.model_validate(step.model_dump()) == step
    with pytest.raises(ValidationError) as error:
        Step.model_validate({**kept, "question": "Who is Ada Quill?"})
    assert "Ada" not in str(error.value)
