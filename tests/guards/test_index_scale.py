"""The index against brute force over every request, and where there are very many."""

import asyncio
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guards import index as indexing
from guards import search, shelf
from guards.aliases import Alias
from guards.base import GuardError
from guards.calibration import UNCALIBRATED
from guards.evidence import Marks
from guards.index import TargetIndex
from guards.nearest import Flat, Hashed
from guards.reading import Text
from guards.targets import NEAR, Background, Targets

DIM = 32
RNG = np.random.default_rng(0)
CENTRES = RNG.standard_normal((6, DIM)).astype(np.float32) + 0.5


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def around(rng, count, width=0.8):
    return unit(CENTRES[rng.integers(6, size=count)] + width * rng.standard_normal((count, DIM)))


BACKGROUND = Background("random", around(np.random.default_rng(1), 20))
FIRST, LAST = ("maria", "otto", "ines"), ("lindholm", "brandt", "quillon", "dorn")


def made(number, rng=None, first=None):
    """A request of the facts scope, of a person with one of twelve names."""
    rng = rng or np.random.default_rng(number)
    name = f"{(first or FIRST[number % 3]).title()} {LAST[number % 4].title()}"
    count = 1 + number % 5
    texts = [f"Where was {name} born?" if i % 2 else f"Which prize was won in {1990 + i}?" for i in range(count)]
    return Targets(
        request=f"r{number}",
        scope="facts",
        encoder="random",
        aliases=(Alias(name, strong=False),),
        positives=around(rng, count).astype(np.float16),
        negatives=around(rng, 2).astype(np.float16),
        marks=Marks.of(texts, [name]) if number % 4 else None,
        threshold=0.62 + 0.01 * (number % 9),
        calibration=UNCALIBRATED,
    )


TEXTS = [
    Text(text)
    for text in ("Where was Maria born?", "who won in 1990", "Tell me of Otto Brandt.", "Ines Quillon or Dorn?", "")
]
VECTORS = around(np.random.default_rng(2), len(TEXTS), 0.5)


def brute(requests, scale):
    """Every margin that counts, of every request by itself."""
    near = BACKGROUND.nearest(VECTORS)
    return {
        (one.request, i): pytest.approx(score, abs=1e-4)
        for one in requests
        for i, score in enumerate(one.scores(TEXTS, VECTORS, near).tolist())
        if score >= one.threshold * scale - NEAR + 1e-4
    }


def counted(view, scale):
    found = view.scores(TEXTS, VECTORS, scale)
    return {
        (request, i): score
        for request, (targets, scores) in found.items()
        for i, score in scores.items()
        if score >= targets.threshold * scale - NEAR + 1e-4
    }


@pytest.mark.parametrize("kind", [Flat, Hashed])
@given(
    moves=st.lists(st.tuples(st.sampled_from(["add", "add", "discard", "settle"]), st.integers(0, 40)), max_size=60),
    hidden=st.sets(st.integers(0, 40), max_size=10),
    scale=st.sampled_from([0.9, 1.0, 1.2]),
)
@settings(max_examples=25, deadline=None)
def test_nothing_that_counts_is_lost_and_nobody_leaves_a_trace(kind, moves, hidden, scale):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelf, "build", kind)
        patch.setattr(indexing, "_AT_ONCE", 12)
        index, held = TargetIndex(BACKGROUND), {}
        old, seen = None, None
        for turn, (move, number) in enumerate(moves):
            if move == "add" and number not in held:
                held[number] = made(number, np.random.default_rng(100 * turn + number))  # never the same twice
                index.add(held[number])
            elif move == "discard":
                index.discard(f"r{number}")
                held.pop(number, None)
            elif move == "settle":
                asyncio.run(index.settle())
            if turn == len(moves) // 2:
                old = index.view(frozenset(f"r{n}" for n in held))
                seen = counted(old, scale)
        visible = {number: one for number, one in held.items() if number not in hidden}
        view = index.view(frozenset(f"r{number}" for number in visible))
        assert counted(view, scale) == brute(visible.values(), scale)
        assert view.words == frozenset().union(*(one.keys for one in visible.values()))
        assert old is None or counted(old, scale) == seen


async def test_a_target_is_searchable_while_a_merge_is_under_way(monkeypatch):
    index = TargetIndex(BACKGROUND)
    await index.extend([made(number) for number in range(1_000)])
    ready, go = asyncio.Event(), asyncio.Event()
    loop, build = asyncio.get_running_loop(), shelf.build

    def slow(blocks):
        if threading.current_thread() is not threading.main_thread():
            loop.call_soon_threadsafe(ready.set)
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
        return build(blocks)

    monkeypatch.setattr(shelf, "build", slow)
    for number in range(1_000, 2_000):
        index.add(made(number))
    settling = asyncio.create_task(index.settle())
    await ready.wait()
    index.add(made(2_000))
    index.discard("r7")
    view = index.view(frozenset(f"r{number}" for number in range(2_001)))
    rows = made(2_000).positives.astype(np.float32)
    assert "r2000" in view.scores([Text("")] * len(rows), rows, 0.5)
    before = len(view.tiers)
    go.set()
    assert await settling
    after = index.view(view.requests)
    assert len(after.tiers) < before
    assert sum(len(tier.entries) for tier in after.tiers) == 2_000
    assert not await index.settle()


def people(count):
    return [made(4 * number + 1, first="Maria") for number in range(count)]


async def test_a_name_that_very_many_share_costs_no_more(monkeypatch):
    weighed = []
    monkeypatch.setattr(search, "margins", lambda some, *_: weighed.extend(some) or np.zeros(len(some)))
    index, crowd = TargetIndex(BACKGROUND), people(3_000)
    await index.extend(crowd)
    view = index.view(frozenset(one.request for one in crowd))
    found = view.scores([Text("Is Maria there?")], unit(-CENTRES[:1]))
    assert found == {}
    assert weighed == []


async def test_who_cannot_be_weighed_is_not_cleared(monkeypatch):
    index, crowd = TargetIndex(BACKGROUND), people(1_500)
    monkeypatch.setattr(search, "_CROWD", 512)
    await index.extend(crowd)
    view = index.view(frozenset(one.request for one in crowd))
    text, vector = [Text("Where was Maria born?")], unit(CENTRES[:1])
    touched = view.scores(text, vector, 0.5)
    assert any(score >= 0.5 * targets.threshold for targets, at in touched.values() for score in at.values())
    assert len(touched) == search._CROWD
    monkeypatch.setattr(search, "margins", lambda some, *_: np.zeros(len(some), np.float32))
    with pytest.raises(GuardError, match="more requests may be touched"):
        view.scores(text, vector, 0.5)
