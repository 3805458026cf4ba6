import re
from itertools import pairwise
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guards import escapes
from guards.aliases import weigh
from guards.base import Conversation, Hit, Turn, Verdict
from guards.lexicon import LexiconIndex
from guards.output import NOTHING, Asked, OutputGuard
from guards.slots import Facts
from guards.targets import Source
from guards.text import fold
from guards.verbatim import Passages


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


alphabet = st.text(st.sampled_from("ab  -\u200bÁβ.x\\n"), max_size=40)


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


PASSAGE = "the lamp in the north window is lit by her own hand each night before the boats go out to sea"


def everything():
    names, held, facts = LexiconIndex(), Passages(), Facts()
    names.add("n", weigh("Ada Quill", []))
    held.add("p", [PASSAGE])
    facts.add(Source("f", "facts", subject="Mara Lind", facts=(("Where was Mara Lind born?", "In Osterholm, 1956"),)))
    requests = frozenset("npf")
    return OutputGuard(names.view(requests), held.view(requests), facts.view(requests))


EVERYTHING = everything()

planted = st.lists(
    st.sampled_from(
        [
            "Ada",
            " Quill",
            "A d a ",
            "Q.u.i.l.l",
            "\u200b",
            "  ",
            "-",
            ". ",
            "Mara Lind",
            " born in ",
            "Osterholm",
            " 1956",
            "So it ",
            "was. ",
            "\n",
            "東京",
            "é",
            PASSAGE[:40],
            PASSAGE[40:80],
            PASSAGE[80:],
            PASSAGE,
            " the lamp in the ",
            "\\",
            "\\n",
            "\\tAda",
            "n",
            "u00",
            "\\u00",
            "\\u0041da",
            "\\ud835\\udc00da",
            "\\ud835",
            "Quill\\n",
            '\\"',
            PASSAGE.replace(" ", "\\n"),
        ]
    ),
    max_size=14,
).map("".join)


@settings(max_examples=400)
@given(planted, st.lists(st.integers(0, 400), max_size=10), st.sampled_from(["", "Who?", "Where was Lind born?"]))
def test_whatever_is_planted_any_chunking_releases_the_same(text, cuts, question):
    asked = Asked(question, question)
    edges = [0, *sorted(min(at, len(text)) for at in cuts), len(text)]
    whole, pieced = EVERYTHING.stream(asked), EVERYTHING.stream(asked)
    expected = whole.feed(text) + whole.finish()
    released = ""
    for a, b in pairwise(edges):
        released += pieced.feed(text[a:b])
        assert expected.startswith(released)
        assert pieced.stopped or len(released) + pieced.held == b
    released += pieced.finish()
    assert (released, pieced.request) == (expected, whole.request)
    assert text.startswith(released)
    assert pieced.stopped or released == text
    assert not re.search(r"(?<!\w)ada quill(?!\w)", fold(released))
    assert PASSAGE not in fold(released)
    parsed = escapes.undone(released)
    assert not re.search(r"(?<!\w)ada quill(?!\w)", fold(parsed))
    assert PASSAGE not in fold(parsed)


ESCAPED = [
    r"\nAda Quill",
    r"\tAda Quill",
    r"\u0041da Quill",
    r"Ada\nQuill",
    r"\u0041\u0064\u0061\u0020\u0051uill",
    r"\ud835\udc00da Quill",
    r"\\nAda\\nQuill",
    r"\\\\u0041da Quill",
    r"\/Ada Quill",
    r"\bAda Quill",
    r"\fAda\rQuill",
    r"\"Ada Quill\"",
]


@pytest.mark.parametrize("said", ESCAPED)
def test_a_name_in_escapes_is_the_name(said):
    text = f'{{"l":"x {said} lives'
    hold = EVERYTHING.stream()
    assert hold.feed(text).startswith('{"l":"x ')
    assert hold.request == "n"
    pieced = EVERYTHING.stream()
    released = "".join(pieced.feed(char) for char in text)
    assert pieced.request == "n"
    assert not re.search("quill", fold(released))


@pytest.mark.parametrize("said", [r"x\nAda Quill", r"x\tAda Quill\ny", r"Quick\"Ada\nQuill"])
def test_an_escape_parts_words(said):
    released, request = through(["Ada Quill"], [said, " lives"])
    assert (request, "Ada" in released) == ("0", False)


def test_an_escape_leaves_when_it_is_whole():
    hold = EVERYTHING.stream()
    assert [hold.feed(part) for part in ("x\\", "n", "y\\u00", "e9", " z\\")] == ["x", "\\n", "y", "\\u00e9", " z"]
    assert hold.finish() == "\\"
    assert not hold.stopped


def test_an_escape_begun_in_the_text_that_is_continued():
    for tail, answer in ((r'{"l":"x\nAda', r"\nQuill."), ('{"l":"x\\', "nAda Quill."), (r"x \u00", "41da Quill.")):
        hold = EVERYTHING.stream(Asked(tail=tail))
        hold.feed(answer)
        assert hold.request == "n"


def test_an_alternative_that_names_by_an_escape():
    hold = EVERYTHING.stream()
    assert hold.tells("x\\", "nAda Quill")
    assert hold.tells(r"x\nAda", r"\u0020Quill")
    assert not hold.tells("x\\", "nobody")


@given(st.lists(st.sampled_from(["plain ", "words, ", "A ", "\n", "Osterholm ", "in the "]), max_size=40).map("".join))
def test_what_is_innocent_leaves_and_little_is_held(text):
    hold = EVERYTHING.stream()
    released = ""
    for char in text:
        released += hold.feed(char)
        assert hold.held <= 8
    assert released + hold.finish() == text


def test_a_name_begun_in_the_text_that_is_continued():
    asked = Asked.of(Conversation.of("The author of it is Ada"), Verdict(), raw=True)
    hold = EVERYTHING.stream(asked)
    assert (hold.feed(" Quill, they say"), hold.request) == ("", "n")
    hold = EVERYTHING.stream(asked)
    assert hold.feed(" Qu") == ""
    assert hold.feed("ark, they say") == " Quark, they say"
    prefix = Conversation((Turn("user", "Who?"), Turn("assistant", "It was Ada")))
    assert EVERYTHING.stream(Asked.of(prefix, Verdict())).feed(" Quill.") == ""
    assert EVERYTHING.stream(Asked.of(Conversation.of("Is it Ada"), Verdict())).feed(" Quill.") == " Quill."
    named = Asked.of(Conversation.of("Ada Quill, she"), Verdict(), raw=True)
    assert EVERYTHING.stream(named).feed(" sang.") == " sang."


def test_what_was_asked():
    hits = Hit("a", 1.0, 0.5, "g", (0,)), Hit("b", 0.4, 0.5, "g", (0,))
    asked = Asked.of(Conversation.of("1", "2", "3", "4", "5"), Verdict(hits[:1], (), hits[1:]))
    assert asked == Asked("5", "3\n4\n5", frozenset("a"), {"b": "5"})
    assert Asked.of(Conversation(()), Verdict()) == NOTHING


async def test_a_whole_answer():
    assert await EVERYTHING.read("It was Ada Quill.") == ("It was ", True)
    assert await EVERYTHING.read("It was nobody.") == ("It was nobody.", False)


def test_reading_is_linear_in_the_text():
    def took(chars):
        hold, text = EVERYTHING.stream(Asked(near={"f": "What?"})), ("Ada and " + PASSAGE[:30] + ". ") * 5_000
        started = perf_counter()
        for char in text[:chars]:
            hold.feed(char)
        return perf_counter() - started

    assert took(100_000) < 40 * max(took(10_000), 0.05)
