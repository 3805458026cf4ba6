import asyncio
from itertools import islice, pairwise
from time import perf_counter

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.drive import Timing, all_of, closed_loop, one_by_one, open_loop, prompts


class Stub:
    """A client whose answers come once `enough` requests wait for one; `due` when each was to be sent."""

    def __init__(self, enough=1):
        self._enough = enough
        self._waiting = 0
        self._full = asyncio.Event()
        self.most = 0
        self.asked, self.due = [], []

    async def ask(self, prompt, *, stream, due=None):
        self.asked.append((prompt, stream))
        self.due.append(due)
        self._waiting += 1
        self.most = max(self.most, self._waiting)
        if self._waiting >= self._enough:
            self._full.set()
        await self._full.wait()
        await asyncio.sleep(0)
        self._waiting -= 1
        return Timing(0.1, 0.2, "whole", passed=True)


@given(st.integers(0, 50))
def test_no_prompt_comes_twice(seed):
    some = list(islice(prompts(seed), 2000))
    assert len(set(some)) == len(some)
    assert not set(some) & set(islice(prompts(seed + 1), 2000))
    assert all(20 <= len(prompt.split()) <= 45 for prompt in some)


async def test_arrivals_do_not_wait_for_answers():
    client = Stub(enough=50)  # nothing is answered before the last request was sent
    timings, late = await open_loop(client, [str(i) for i in range(50)], 20_000, stream=True)
    assert [prompt for prompt, _ in client.asked] == [str(i) for i in range(50)]
    assert len(timings) == client.most == 50
    assert late >= 0


async def test_arrival_times_are_drawn_beforehand():
    slow, quick = Stub(enough=20), Stub()
    for client in (slow, quick):
        await open_loop(client, ["?"] * 20, 20_000, stream=False, seed=3)
    gaps = [[b - a for a, b in pairwise(client.due)] for client in (slow, quick)]
    assert gaps[0] == pytest.approx(gaps[1], abs=1e-9)


async def test_a_closed_loop_never_has_more_in_flight():
    client = Stub(enough=3)
    timings, seconds = await closed_loop(client, prompts(0), 3, 0.01, stream=True)
    assert client.most == 3
    assert len(timings) == len(client.asked) == len({prompt for prompt, _ in client.asked})
    assert seconds >= 0.01


async def test_every_prompt_is_asked_once_and_every_other_streamed():
    client = Stub()
    timings, _ = await all_of(client, [str(i) for i in range(9)], 4)
    assert sorted(client.asked) == [(str(i), bool(i % 2)) for i in range(9)]
    assert len(timings) == 9


async def test_times_are_of_the_first_text_and_of_the_end(mock, client):
    for stream in (True, False):
        (timing,) = await one_by_one(client, ["?"], stream=stream)
        assert 0 < timing.first <= timing.total
        assert (timing.outcome, timing.passed) == ("whole", True)


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_without_a_word_is_broken(mock, client, stream):
    async with aiohttp.ClientSession() as http, http.put(f"{mock[1]}/behaviour", json={"tokens": 0}) as response:
        assert response.status == 200
    assert (await client.ask("?", stream=stream)).outcome == "broken"


async def test_what_is_owed_to_waiting_counts(mock, client):
    timing = await client.ask("?", stream=True, due=perf_counter() - 5)
    assert timing.total > timing.first > 5
