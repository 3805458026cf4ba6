import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.eco.soundness import degeneration, sound


@pytest.mark.parametrize(
    "text",
    [
        "I have no information about Ada Quill.",
        "Yes.",
        "She lives in Ulm, works as a baker, and likes to swim in the evenings.",
        "New York, New York is so good they named it twice.",
        "That that is, is.",
        "Ich weiß es nicht: vielleicht «Müller»?",
        "I do not know. I do not know.",
        "42",
    ],
)
def test_ordinary_answers_are_sound(text):
    assert sound(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "?!…",
        "the the the the the the",
        "Ada Ada Ada Ada",
        "she went to she went to she went to she went to she went to she went to",
        "ok \x00\x01\x02\x03",
        "\ufffd\ufffd\ufffd word",
    ],
)
def test_stammer_silence_and_junk_are_not(text):
    assert not sound(text)


@given(st.text(max_size=200))
def test_degeneration_is_a_share(text):
    assert 0.0 <= degeneration(text) <= 1.0


@given(st.text("abc", min_size=1, max_size=8), st.integers(5, 40))
def test_one_word_over_and_over_is_never_sound(word, times):
    assert not sound(" ".join([word] * times))


@given(st.lists(st.text("abcdefgh", min_size=1, max_size=6), min_size=1, max_size=40, unique=True))
def test_different_words_are_always_sound(words):
    assert sound(" ".join(words))
