import asyncio
import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guards.base import Hit
from guards.review import LONGEST, Review


class Listener:
    """Hits the sentences that hold a word, and notes what it was asked."""

    name = "listener"

    def __init__(self, word="baker", score=1.0):
        self.word, self.score, self.heard = word, score, []

    async def review(self, near, sentences):
        self.heard.append((near, tuple(sentences)))
        return [Hit("fr", self.score, 0.5, self.name, (i,)) for i, one in enumerate(sentences) if self.word in one]


class Fails:
    name = "fails"

    def __init__(self, how):
        self.how = how

    async def review(self, near, sentences):
        if self.how == "error":
            raise RuntimeError
        if self.how == "deadline":
            await asyncio.Event().wait()
        return [Hit("fr", math.nan, 0.5, "x", (0,))] if self.how == "nan" else [Hit("fr", 1.0, 0.5, "x", (7,))]


def review(reviewer, **options):
    return Review(reviewer, {"fr": "Who?"}, 0.05, **options)


async def through(chunks, reviewer=None):
    one = review(reviewer or Listener())
    out = [await one.feed(chunk) for chunk in chunks]
    return "".join([*out, await one.finish()]), one.stopped


async def test_sentences_leave_when_they_were_heard():
    listener = Listener()
    one = review(listener)
    assert await one.feed("It was late. She was") == "It was late."
    assert one.held == len(" She was")
    assert await one.feed(" a baker. She sang. ") == ""
    assert one.stopped
    assert await one.feed("More.") == await one.finish() == ""
    assert listener.heard[0] == ({"fr": "Who?"}, ("It was late.",))
    assert len(listener.heard) == 2


async def test_the_end_is_heard_too():
    assert await through(["It was late. She", " was a baker"]) == ("It was late.", True)
    assert await through(["It was late. She", " was a poet"]) == ("It was late. She was a poet", False)


async def test_a_hit_below_its_threshold_changes_nothing():
    assert await through(["A baker."], Listener(score=0.4)) == ("A baker.", False)


async def test_no_more_than_so_much_is_held():
    one = review(Listener())
    out = ""
    for i in range(1_000):
        out += await one.feed("word ")
        assert one.held < LONGEST
        assert len(out) + one.held == 5 * (i + 1)


@pytest.mark.parametrize(("how", "kind"), [("error",) * 2, ("deadline",) * 2, ("nan", "junk"), ("places", "junk")])
async def test_a_reviewer_that_fails_stops_the_answer_and_is_counted(how, kind):
    counted = []
    one = review(Fails(how), failed=lambda *what: counted.append(what))
    assert await one.feed("It was late. ") == ""
    assert one.stopped
    assert counted == [("fails", kind)]


sentences = st.text(st.sampled_from("ab .!\n。"), max_size=60) | st.lists(
    st.sampled_from(["The baker. ", "She sang! ", "no end ", "x" * 200]), max_size=6
).map("".join)


@settings(max_examples=150)
@given(sentences, st.lists(st.integers(0, 600), max_size=8))
def test_any_chunking_releases_the_same(text, cuts):
    edges = [0, *sorted(min(at, len(text)) for at in cuts), len(text)]
    chunks = [text[a:b] for a, b in pairwise(edges)]
    assert asyncio.run(through(chunks)) == asyncio.run(through([text]))
    if "baker" not in text:
        assert asyncio.run(through(chunks)) == (text, False)
