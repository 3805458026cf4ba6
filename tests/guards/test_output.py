from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guards.aliases import weigh
from guards.lexicon import LexiconIndex
from guards.output import OutputGuard


def guard(*names):
    index = LexiconIndex()
    for i, name in enumerate(names):
        index.add(str(i), weigh(name, []))
    return OutputGuard(index.view(frozenset(map(str, range(len(names))))))


def through(names, chunks):
    hold = guard(*names).stream()
    released = "".join([*(hold.feed(chunk) for chunk in chunks), hold.finish()])
    return released, hold.request


@pytest.mark.parametrize(
    ("text", "released", "request_id"),
    [
        ("It was Mara Lind who", "It was ", "0"),
        ("It was Mara Lind", "It was ", "0"),
        ("It was Mara Lindqvist.", "It was Mara Lindqvist.", None),
        ("Tamara Lind and Mara  Lin", "Tamara Lind and Mara  Lin", None),
        ("say MÁ\u200bRA—LIND!", "say ", "0"),
        ("", "", None),
        ("\ud800\x00 Mara", "\ud800\x00 Mara", None),
    ],
)
def test_whole_text(text, released, request_id):
    assert through(["Mara Lind"], [text]) == (released, request_id)
    assert through(["Mara Lind"], list(text)) == (released, request_id)


alphabet = st.text(st.sampled_from("ab  -\u200bÁβ.x"), max_size=40)


@settings(max_examples=300)
@given(alphabet, st.lists(st.integers(0, 40), max_size=8))
def test_any_chunking_releases_the_same(text, cuts):
    names = ["aba bab", "ba aba b", "bab-ab", "abab"]
    edges = [0, *sorted(min(at, len(text)) for at in cuts), len(text)]
    chunks = [text[a:b] for a, b in pairwise(edges)]
    assert through(names, chunks) == through(names, [text])


@given(st.text(max_size=60))
def test_what_is_no_name_passes_unchanged(text):
    released, request = through(["Qwertz Uiopue"], list(text))
    assert released == text or request is not None


def test_nothing_is_held_that_cannot_become_a_name():
    hold = guard("Mara Lind").stream()
    assert hold.feed("Hello there, M") == "Hello there, "
    assert hold.feed("oon") == "Moon"
    assert hold.feed(" Mara L") == " "
    assert hold.feed("ind") == ""
    assert hold.feed("a ") == "Mara Linda "
    assert not hold.stopped


def test_nothing_leaves_after_a_stop():
    hold = guard("Mara Lind").stream()
    assert hold.feed("by Mara Lind, and more") == "by "
    assert hold.stopped
    assert (hold.feed("more"), hold.finish()) == ("", "")


def test_without_names_everything_passes_at_once():
    hold = guard().stream()
    assert hold.feed("anything") == "anything"
    assert hold.finish() == ""
