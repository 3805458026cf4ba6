import random

from bench.load.drive import Timing
from bench.load.timing import compared


def _timings(seed, off=0.0):
    rng = random.Random(seed)
    return [Timing(first := 0.03 + off + rng.gauss(0, 0.003), first + 0.02, "whole", events=11) for _ in range(200)]


def test_nothing_is_found_where_there_is_nothing():
    found = compared("first", _timings(1), _timings(2), control=True)
    assert abs(found.slower - 0.5) < 0.1
    assert min(found.rank_p, found.shape_p) > 0.01


def test_two_milliseconds_are_found():
    found = compared("first", _timings(1, off=0.002), _timings(2), control=False)
    assert found.slower > 0.6
    assert max(found.rank_p, found.shape_p) < 0.001
    assert 1 < found.touched_ms - found.untouched_ms < 3


def test_longer_answers_tell_nothing_of_the_pace():
    short = [Timing(0.5, 0.75, "whole", events=11)] * 20
    longer = [Timing(0.5, 1.0, "whole", events=19)] * 20
    found = compared("between", longer, short, control=False)
    assert (found.touched_ms, found.slower) == (found.untouched_ms, 0.5)
    assert found.rank_p == 1
