import asyncio

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


async def test_where_one_fails_nobody_goes_on_asking():
    asked = []

    async def ask(question):
        asked.append(question)
        await asyncio.sleep(0.001)
        if question == 1:
            raise ValueError(question)
        await asyncio.sleep(0.01)

    with pytest.raises(ValueError, match="1"):
        await few(ask, range(12))
    await asyncio.sleep(0.05)
    assert len(asked) < 6
