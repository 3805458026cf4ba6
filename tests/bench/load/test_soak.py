from itertools import islice

import pytest
from rich.progress import Progress

from bench.load.soak import overload, soak, touching, undecided
from bench.load.stage import FORGOTTEN, running
from gateway.demo.world import make_world


def test_what_was_answered_without_a_decision_is_counted():
    before = {"answers": 10.0, "decisions": 12.0, "running": 0.0}
    assert undecided(before, {"answers": 20.0, "decisions": 22.0}) == 0
    assert undecided(before, {"answers": 20.0, "decisions": 19.0}) == 3
    assert undecided(before, {"answers": 20.0, "decisions": 25.0}) == 0


def test_touching_prompts_name_those_who_are_forgotten():
    names = [person.name for person in make_world().people[:FORGOTTEN]]
    some = list(islice(touching(seed=0), 3 * FORGOTTEN))
    assert len(set(some)) == len(some)
    assert all(name in prompt for name, prompt in zip(names * 3, some, strict=True))


@pytest.mark.slow
async def test_nothing_is_left_and_nothing_passes_undecided(tmp_path):
    with Progress(disable=True) as bar:
        async with running(tmp_path, beside=False) as bench:
            soaked = await soak(bench, 500, bar)
            hit = await overload(bench, 400.0, 1.0)
    assert (soaked.asked, soaked.answered, soaked.undecided, soaked.leaked, soaked.left) == (500, 500, 0, 0, 0)
    assert soaked.after.threads == soaked.warm.threads
    assert (hit.answered + hit.refused, hit.broken, hit.undecided, hit.leaked) == (hit.asked, 0, 0, 0)
    assert hit.answered
