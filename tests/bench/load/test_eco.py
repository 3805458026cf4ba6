import io
import math
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.progress import Progress

from bench.load import eco
from bench.load.drive import Timing
from bench.load.eco import cost


@pytest.fixture
def scene():
    """Touched prompts take 40 ms to their first token and 20 ms from one to the next, others half of that.

    `lost` says which prompts are not answered.
    """
    counted = [0.0, 0.0]

    class Client:
        async def ask(self, prompt, *, stream):
            touched = "touched" in prompt.split()
            if made.lost(prompt):
                return Timing(math.nan, 60.0, "unreachable")
            counted[0] += 10 * (0.02 if touched else 0.01)
            counted[1] += 10
            return Timing(0.04 if touched else 0.02, 1.0, "whole", events=13)

    async def tokens(text):
        return 200

    async def between_tokens():
        return tuple(counted)

    made = SimpleNamespace(client=Client(), tokens=tokens, between_tokens=between_tokens, lost=lambda prompt: False)
    made.pair = lambda rng: ("touched", "plain")
    return made


def quiet():
    return Progress(console=Console(file=io.StringIO()))


async def test_pace_and_first_tokens_are_compared(scene):
    found = await cost(scene, 20, quiet())
    assert found.speed == pytest.approx((0.5, 0.5, 0.5))
    assert found.added_ms == pytest.approx((20, 20, 20))
    assert (found.tokens, found.pairs, found.failed) == (200, 20, 0)


async def test_requests_that_failed_are_counted_and_move_nothing(scene):
    asked = []

    def lost(prompt):
        asked.append(prompt)
        return len(asked) % 7 == 0

    scene.lost = lost
    found = await cost(scene, 20, quiet())
    assert found.speed == pytest.approx((0.5, 0.5, 0.5))
    assert found.added_ms == pytest.approx((20, 20, 20))
    assert found.failed == len(asked) // 7


async def test_where_no_touched_prompt_is_answered_nothing_is_known(scene):
    scene.lost = lambda prompt: "touched" in prompt.split()
    found = await cost(scene, 20, quiet())
    assert all(map(math.isnan, (*found.speed, *found.added_ms)))
    assert found.failed == 2 * eco._BLOCK + 20
