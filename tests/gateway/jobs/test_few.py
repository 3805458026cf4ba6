import asyncio
import gc

import pytest

from gateway.jobs.few import few


async def test_a_few_at_once_and_their_answers_in_order():
    under_way, most = 0, 0

    async def ask(question):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001 * (question % 3))
        under_way -= 1
        return -question

    assert await few(ask, range(20)) == [-i for i in range(20)]
    assert most == 4


async def test_one_that_fails_fails_all_and_nothing_is_left_behind():
    async def ask(question):
        raise ValueError(question)

    with pytest.raises(ValueError, match="0"):
        await few(ask, range(8))
    gc.collect()  # what was never awaited would warn
