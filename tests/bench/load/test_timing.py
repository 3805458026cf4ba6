import io
import math
import random
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.progress import Progress

from bench.load.drive import Timing, heard
from bench.load.timing import compared, told


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


FAILED = [Timing(math.nan, 0.1, "refused"), Timing(math.nan, 60.0, "unreachable"), Timing(0.9, 1.0, "broken")]
SILENT = Timing(math.nan, 0.1, "whole")


def test_requests_that_failed_move_nothing():
    whole, other = _timings(1, off=0.002), _timings(2)
    clean, found = (compared("first", some, other, control=False) for some in (whole, [*FAILED, SILENT, *whole]))
    assert (found.pairs, clean.pairs) == (204, 200)
    assert (found.touched_ms, found.rank_p, found.shape_p) == (clean.touched_ms, clean.rank_p, clean.shape_p)
    assert heard([*FAILED, SILENT, *whole]) == whole


@pytest.mark.parametrize("measure", ["first", "between"])
def test_where_all_failed_nothing_is_known(measure):
    found = compared(measure, FAILED, _timings(1), control=False)
    assert math.isnan(found.rank_p)
    assert math.isnan(found.touched_ms)


async def test_requests_that_failed_are_counted_once():
    answers = iter(_timings(1))

    class Client:
        async def ask(self, prompt, *, stream):
            return FAILED[0] if prompt == "touched" else next(answers)

    scene = SimpleNamespace(client=Client(), pair=lambda rng: ("touched", "untouched"))
    found, failed = await told(scene, 40, Progress(console=Console(file=io.StringIO())))
    assert failed == 40
    assert [math.isnan(one.rank_p) for one in found] == [True, False, True, False]
