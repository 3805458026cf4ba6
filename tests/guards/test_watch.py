from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from guards.text import fold
from guards.watch import LONGEST_WORD, Splitter, split


def pieces_of(text, cuts=()):
    splitter = Splitter()
    edges = [0, *sorted(min(at, len(text)) for at in cuts), len(text)]
    chunks = [*(splitter.push(text[a:b]) for a, b in pairwise(edges)), splitter.push("", last=True)]
    return [piece for chunk in chunks for piece in chunk.pieces], [edge for chunk in chunks for edge in chunk.edges]


def test_words_marks_and_characters_of_scripts_without_spaces_are_pieces():
    found, edges = pieces_of("it's 東京. ok")
    assert [piece.text for piece in found] == ["it", "'", "s", "東", "京", ".", "ok"]
    assert [(piece.start, piece.stop) for piece in found][-1] == (9, 11)
    assert edges == [0, 2, 3, 4, 5, 6, 7, 8, 9]
    assert split("it's 東京. ok") == ["it", "s", "東", "京", "ok"]


@given(st.text(st.sampled_from("ab1 .'東é_"), max_size=30), st.lists(st.integers(0, 30), max_size=6))
def test_cuts_change_nothing(text, cuts):
    assert pieces_of(text, cuts) == pieces_of(text)
    assert [piece.text for piece in pieces_of(text)[0] if piece.text[0].isalnum()] == split(text)


def test_a_word_is_open_until_the_next_character():
    splitter = Splitter()
    assert splitter.push("one tw").open == 4
    assert [piece.text for piece in splitter.push("o").pieces] == []
    assert [piece.text for piece in splitter.push(" ").pieces] == ["two"]


def test_a_very_long_word_loses_its_end_in_any_chunks():
    long = "a" * 1000
    assert pieces_of(long, range(1000))[0] == [(long[:LONGEST_WORD], 0, 1000)] == pieces_of(long)[0]
    assert split(long) == [long[:LONGEST_WORD]]


@given(st.text(max_size=30))
def test_folding_is_one_character_after_another(text):
    """What `Hold` relies on when it folds chunk by chunk."""
    pieces = [fold(char) for char in text]
    kept = [piece for i, piece in enumerate(pieces) if piece != " " or not "".join(pieces[:i]).endswith(" ")]
    assert "".join(kept) == fold(text)
