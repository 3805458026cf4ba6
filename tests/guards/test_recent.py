import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.base import Conversation, Hit, Turn, Verdict
from guards.recent import RememberingRunner


class Counting:
    """Touches what holds an x, fails at a y, and waits where it is told to."""

    name = "counting"

    def __init__(self):
        self.asked = 0
        self.go = asyncio.Event()
        self.go.set()

    async def judge(self, conversation):
        self.asked += 1
        await self.go.wait()
        text = conversation.turns[-1].text
        if "y" in text:
            raise ValueError
        return (Hit("one", 1.0, 0.5, self.name, (0,)),) if "x" in text else ()


@pytest.mark.parametrize("text", ["x", "a", "\ud800"])
async def test_what_was_judged_is_remembered(text):
    guard = Counting()
    runner = RememberingRunner([guard], 1.0, entries=8)
    first = await runner.classify(Conversation.of(text))
    assert await runner.classify(Conversation.of(text)) == first
    assert guard.asked == 1
    assert first.touched == ("x" in text)


async def test_nothing_is_remembered_without_entries():
    guard = Counting()
    runner = RememberingRunner([guard], 1.0)
    for _ in range(3):
        await runner.classify(Conversation.of("a"))
    assert guard.asked == 3


async def test_failures_are_not_remembered():
    guard, failed = Counting(), []
    runner = RememberingRunner([guard], 1.0, lambda *what: failed.append(what), 8)
    for _ in range(2):
        assert (await runner.classify(Conversation.of("y"))).failures == ("counting",)
    assert (guard.asked, failed) == (2, [("counting", "error")] * 2)


async def test_the_least_recently_asked_for_is_forgotten():
    guard = Counting()
    runner = RememberingRunner([guard], 1.0, entries=2)
    for text in ("a", "b", "a", "c", "a"):
        await runner.classify(Conversation.of(text))
    assert guard.asked == 3
    await runner.classify(Conversation.of("b"))
    assert guard.asked == 4


async def test_two_at_once_are_judged_once_and_one_may_go():
    guard = Counting()
    runner = RememberingRunner([guard], 1.0, entries=8)
    guard.go.clear()
    first, second, other = (asyncio.create_task(runner.classify(Conversation.of(text))) for text in ("x", "x", "a"))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    guard.go.set()
    assert (await second).touched
    assert not (await other).touched
    assert guard.asked == 2
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_what_nobody_waits_for_is_not_judged_to_its_end():
    guard = Counting()
    runner = RememberingRunner([guard], 1.0, entries=8)
    guard.go.clear()
    gone = asyncio.create_task(runner.classify(Conversation.of("x")))
    while not guard.asked:
        await asyncio.sleep(0)
    (judging,) = runner._judging.values()
    gone.cancel()
    await asyncio.sleep(0)
    later = asyncio.create_task(runner.classify(Conversation.of("x")))  # who asks now waits for another verdict
    await asyncio.wait({judging})
    assert judging.cancelled()
    guard.go.set()
    assert (await later).touched
    assert (await runner.classify(Conversation.of("x"))).touched
    assert guard.asked == 2
    assert not runner._judging
    assert not runner._asked


async def test_a_deadline_is_not_remembered():
    guard = Counting()
    runner = RememberingRunner([guard], 0.01, entries=8)
    guard.go.clear()
    conversation = Conversation.of("a")
    assert (await asyncio.gather(*[runner.classify(conversation)] * 1))[0] == Verdict((), ("counting",))
    guard.go.set()
    assert not (await runner.classify(conversation)).touched


turns = st.lists(st.tuples(st.sampled_from(["user", "assistant", "u", ""]), st.text(max_size=3)), max_size=4)


@given(turns, turns)
def test_only_equal_conversations_are_taken_for_each_other(one, other):
    runner = RememberingRunner([], 1.0, entries=1)
    names = [runner._name(Conversation(tuple(Turn(*turn) for turn in each))) for each in (one, other)]
    assert (names[0] == names[1]) == (one == other)
