from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guards.base import GuardError
from guards.lexicon import LexiconView
from guards.output import OutputGuard
from guards.targets import ordinary_prompts
from guards.verbatim import CUT, SHINGLE, SLIPS, Passages

TEXT = " ".join(f"w{i}" for i in range(40))
SHORT = "the code of the blue door is nine"


def passages(**documents):
    held = Passages()
    for request, texts in documents.items():
        held.add(request, texts)
    return held


def guard(view):
    return OutputGuard(LexiconView((), frozenset()), view)


VIEW = passages(a=[TEXT], b=[SHORT]).view(frozenset("ab"))


def through(text, cuts=(), view=VIEW):
    hold = guard(view).stream()
    edges = [0, *sorted(min(at, len(text)) for at in cuts), len(text)]
    return "".join([*(hold.feed(text[a:b]) for a, b in pairwise(edges)), hold.finish()]), hold.request


def test_of_an_exact_copy_the_first_words_are_seen():
    assert through(f"It says: {TEXT}") == ("It says: " + " ".join(f"w{i}" for i in range(SHINGLE)), "a")


@pytest.mark.parametrize("words", [SHINGLE, CUT - 1])
def test_less_than_too_much_is_released(words):
    text = "It says: " + " ".join(TEXT.split()[7 : 7 + words]) + " and so on"
    assert through(text, range(len(text))) == (text, None)


def test_case_marks_and_line_ends_change_nothing():
    assert through(TEXT.upper().replace(" ", ",\n"))[1] == "a"


def test_changed_words_do_not_end_a_run_and_do_not_count():
    words = TEXT.split()
    words[8] = "other"
    text = " ".join(words[:CUT])
    assert through(text)[1] is None
    words[9 : 9 + SLIPS] = ["x"] * (SLIPS - 1)
    copied = through(" ".join(words))
    assert copied[1] == "a"
    assert len(copied[0].split()) < CUT + SLIPS + 1
    many = [word for i in range(0, 40, SHINGLE) for word in [*TEXT.split()[i : i + SHINGLE], *["x"] * (SLIPS + 1)]]
    assert through(" ".join(many))[1] is None


def test_a_short_document_may_not_be_said_whole():
    assert through(f"Know that {SHORT}!") == ("Know that the code of the blue", "b")
    assert through("the code of the blue door is eight")[1] is None


def test_whose_it_is_counts():
    held = passages(a=[TEXT], b=[TEXT])
    assert through(TEXT, view=held.view(frozenset("b")))[1] == "b"
    held.discard("b")
    assert through(TEXT, view=held.view(frozenset("b")))[1] is None
    with pytest.raises(GuardError):
        held.add("a", [TEXT])


def test_ordinary_text_is_not_cut():
    common = passages(
        a=["Please tell me what is the capital of the country, and how do I get there by train or by bus?"]
    )
    view = common.view(frozenset("a"))
    assert all(through(prompt, view=view) == (prompt, None) for prompt in ordinary_prompts())


def test_memory_and_the_filter():
    (segment,) = passages(a=[" ".join(f"v{i}" for i in range(1_000))]).view(frozenset("a")).segments
    assert segment.hashes.nbytes + segment.owners.nbytes + len(segment.table) <= 14_000
    asked = sum(
        bool(segment.table[(h & (8 * len(segment.table) - 1)) >> 3] >> (h & 7) & 1)
        for h in map(hash, map(str, range(4_000)))
    )
    assert asked < 1_000


words = st.lists(
    st.sampled_from(["w1 w2 w3 w4 w5 w6", "w7 w8 w9 w10 w11", "w12 w13 w14 w15 w16 w17", "w3 w4", "x", "w18. "]),
    max_size=8,
)


@settings(max_examples=150)
@given(words.map(" ".join), st.lists(st.integers(0, 200), max_size=8))
def test_any_chunking_releases_the_same(text, cuts):
    assert through(text, cuts) == through(text)


def test_the_text_that_is_continued_counts():
    from guards.base import Conversation, Verdict
    from guards.output import Asked

    asked = Asked.of(Conversation.of(" ".join(TEXT.split()[:30])), Verdict(), raw=True)
    hold = guard(VIEW).stream(asked)
    assert (hold.feed(" w30 w31 w32") + hold.finish(), hold.request) == ("", "a")
