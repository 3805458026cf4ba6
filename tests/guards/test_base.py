import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.base import Conversation, Hit, Runner, Turn, Verdict

TALK = Conversation.of("one", "two", "three")
SECRET = "Mara Lindqvist"


def hit(request="r", score=0.9, threshold=0.5, guard="g", turns=(0,), surface=None):
    return Hit(request, score, threshold, guard, turns, surface)


class Says:
    """A guard that returns whatever it was given."""

    def __init__(self, found, name="says"):
        self.found, self.name = found, name

    async def judge(self, conversation):
        return self.found


class Raises:
    name = "raises"

    def __init__(self, error):
        self.error = error

    async def judge(self, conversation):
        raise self.error


class Hangs:
    name = "hangs"

    async def judge(self, conversation):
        await asyncio.Event().wait()


JUNK = [
    None,
    "touched",
    True,
    {"r": 1.0},
    [None],
    [hit(), "r"],
    [hit(score=math.nan)],
    [hit(score=math.inf)],
    [hit(threshold=math.nan)],
    [hit(score=None)],
    [hit(score="0.9")],
    [hit(threshold=None)],
    [hit(turns=())],
    [hit(turns=None)],
    [hit(turns=(3,))],
    [hit(turns=(-1,))],
    [hit(turns=("0",))],
    [hit(turns=(0.5,))],
    [hit(request=["r"])],
    [hit(surface=7)],
]
ERRORS = [RuntimeError(SECRET), ValueError(SECRET), TimeoutError(), KeyError(SECRET), asyncio.InvalidStateError()]


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
async def test_junk_means_touched_and_is_counted_without_text(junk):
    counted = []
    verdict = await Runner([Says(junk)], 1.0, lambda *failure: counted.append(failure)).classify(TALK)
    assert verdict == Verdict((), ("says",))
    assert verdict.touched
    assert counted == [("says", "junk")]


async def test_a_guard_that_hangs_costs_the_deadline_and_no_more():
    counted = []
    loop = asyncio.get_running_loop()
    started = loop.time()
    verdict = await Runner([Hangs(), Hangs(), Says([])], 0.05, lambda *f: counted.append(f)).classify(TALK)
    assert loop.time() - started < 1
    assert verdict.failures == ("hangs", "hangs")
    assert counted == [("hangs", "deadline")] * 2


async def test_the_caller_who_goes_away_is_not_a_verdict():
    task = asyncio.create_task(Runner([Hangs()], 10).classify(TALK))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_nothing_found_is_untouched():
    assert not (await Runner([Says([]), Says(())], 1.0).classify(TALK)).touched
    assert not (await Runner([], 1.0).classify(TALK)).touched


async def test_hits_of_one_request_become_one_with_all_turns_the_wider_margin_and_a_surface():
    weak = hit(score=0.6, guard="dense", turns=(0, 2))
    strong = hit(score=1.0, guard="lexicon", turns=(1,), surface="Mara")
    for guards in ([Says([weak]), Says([strong])], [Says([strong]), Says([weak])]):
        (found,) = (await Runner(guards, 1.0).classify(TALK)).hits
        assert found == hit(score=1.0, guard="lexicon", turns=(0, 1, 2), surface="Mara")


good = st.builds(
    hit,
    request=st.sampled_from("abc"),
    score=st.floats(0, 1),
    threshold=st.floats(0, 1),
    turns=st.sets(st.integers(0, 2), min_size=1).map(lambda turns: tuple(sorted(turns))),
)
guards_of_any_kind = st.one_of(
    st.lists(good, max_size=4).map(Says),
    st.sampled_from(JUNK).map(Says),
    st.sampled_from(ERRORS).map(Raises),
    st.builds(Hangs),
)


@given(st.lists(guards_of_any_kind, max_size=5))
def test_any_mix_of_guards_gives_a_verdict_and_none_fails_open(guards):
    verdict = asyncio.run(Runner(guards, 0.01).classify(TALK))
    sound = [guard for guard in guards if isinstance(guard, Says) and not any(guard.found is junk for junk in JUNK)]
    assert len(verdict.failures) == len(guards) - len(sound)
    found = [one for guard in sound for one in guard.found]
    reached = {one.request for one in found if one.reached}
    assert {one.request for one in verdict.hits} == reached
    assert {one.request for one in verdict.near} == {one.request for one in found} - reached
    assert verdict.touched == bool(verdict.failures or verdict.hits)
    assert verdict.turns == {turn for one in found if one.reached for turn in one.turns}


def test_texts_and_names_are_not_in_any_repr():
    shown = repr((Turn("user", SECRET), Conversation.of(SECRET), hit(surface=SECRET)))
    assert SECRET not in shown
    assert SECRET not in repr(Verdict((hit(surface=SECRET),)))


def test_a_conversation_of_texts_alternates():
    assert [turn.role for turn in TALK.turns] == ["user", "assistant", "user"]
