import math

import numpy as np
import pytest

from bench.load.drive import Timing
from bench.load.side_by_side import Found, added, mean_ratio, p99_ratio


def _found(rounds=8, seed=0):
    rng = np.random.default_rng(seed)
    found = Found()
    for _ in range(rounds):
        for name, mean in (("direct", 1.0), ("gateway", 2.0), ("litellm", 6.0)):
            found.note(name, [], whole_ms=list(mean + 0.1 * rng.standard_normal(30)))
    return found


def test_what_is_added_is_compared_and_not_what_is_there_anyway():
    values = {"direct": np.float32([10, 10]), "gateway": np.float32([11, 11]), "litellm": np.float32([14, 14])}
    assert added(values) == pytest.approx(0.25)
    assert mean_ratio(values) == pytest.approx(11 / 14)
    assert p99_ratio(values) == pytest.approx(11 / 14)


def test_an_interval_holds_the_truth_and_narrows_with_rounds():
    value, low, high = _found().interval("whole_ms", added)
    assert low <= value <= high
    assert low < 0.2 < high
    _, low_, high_ = _found(rounds=64).interval("whole_ms", added)
    assert all(map(math.isnan, _found(rounds=1).interval("whole_ms", added)[1:]))
    assert high_ - low_ < high - low


def test_the_same_rounds_have_the_same_interval():
    assert _found().interval("whole_ms", added) == _found().interval("whole_ms", added)


def test_failures_are_counted_by_server_and_kind():
    found = Found()
    timings = [Timing(0.1, 0.2, outcome) for outcome in ("whole", "broken", "refused", "refused")]
    found.note("gateway", timings)
    assert (found.failed["gateway"], found.failed["direct"]) == ({"refused": 2, "broken": 1}, {})


def test_where_no_request_was_answered_nothing_is_known():
    assert math.isnan(p99_ratio({"gateway": np.float32([]), "litellm": np.float32([1])}))
