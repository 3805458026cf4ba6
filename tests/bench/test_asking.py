import asyncio

import pytest

from bench.asking import each


async def test_so_many_are_asked_at_a_time_and_answers_are_in_order():
    busy, most, done = set(), [], []

    async def ask(what):
        busy.add(what)
        most.append(len(busy))
        await asyncio.sleep(0.01 / (1 + what))
        busy.discard(what)
        return -what

    assert await each(ask, range(7), lambda: done.append(1), 3) == [0, -1, -2, -3, -4, -5, -6]
    assert (max(most), len(done)) == (3, 7)
    most.clear()
    assert await each(ask, range(40), at_once=None) == [-one for one in range(40)]
    assert max(most) == 40
    assert await each(ask, ()) == []


async def test_where_one_fails_the_others_are_asked_no_more():
    asked, ended = [], []

    async def ask(what):
        asked.append(what)
        try:
            await asyncio.sleep(0 if what == 1 else 10)
        finally:
            ended.append(what)
        raise ConnectionError(what)

    with pytest.raises(ConnectionError):
        await each(ask, range(9), at_once=3)
    assert asked[:3] == [0, 1, 2]
    assert len(asked) <= 4  # one more may have had its turn
    assert set(ended) <= set(asked)
    await asyncio.sleep(0)
    assert len(asked) <= 4
