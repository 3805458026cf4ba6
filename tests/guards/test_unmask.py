import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.probes.disguises import DISGUISES, disguised
from guards.targets import ordinary_prompts
from guards.text import fold
from guards.unmask import unmasked

QUESTION = "Where was the author born, and who were her parents then?"


@pytest.mark.parametrize(
    "prompt", [*ordinary_prompts(), "iPhone or macOS?", "Was ist das für ein Baum?", "F.A.M.E. and U.N.C.L.E."]
)
def test_honest_text_has_no_other_reading(prompt):
    assert unmasked(prompt) == (prompt,)


@pytest.mark.parametrize(
    "text",
    [
        "Где родилась Мара?",
        "Où est née Zoé Martínez ?",
        "東京はどこですか",
        "Tシャツ 5µm ½",
        "¿No es su casa la que está en los Andes?",
        "Si no la ves, no os la doy",
    ],
)
def test_nor_have_other_languages(text):
    assert unmasked(text) == (text,)


@pytest.mark.parametrize(
    "disguise", sorted(set(DISGUISES) - {"typo", "abroad", "padding before", "padding after", "beyond the window"})
)
def test_every_disguise_is_undone(disguise):
    sought = "".join(filter(str.isalpha, fold(QUESTION)))
    for seed in range(30):
        (text,) = disguised([QUESTION], disguise, seed)
        if "".join(filter(str.isalpha, fold(text))) == sought and " the " in text and text.isascii():
            continue  # this variant hides names only
        found = ["".join(filter(str.isalpha, fold(reading))) for reading in unmasked(text)]
        assert any(sought in reading for reading in found), text


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("Who is the writer from Fnagvntb, Puvyr?", "Who is the writer from Santiago, Chile?"),
        ("Who is the writer from ogaitnaS?", "Who is the writer from Santiago?"),
        ("Who is the writer from S a n t i a g o?", "Who is the writer from Santiago?"),
        ("Who is the writer from Sаntіаgo?", "Who is the writer from Santiago?"),
        ("Who is the writer from Sant\u200biago?", "Who is the writer from Santiago?"),
    ],
)
def test_one_hidden_word_amid_plain_ones(text, reading):
    assert reading in unmasked(text)


def test_what_was_hidden_is_read_alone_too():
    assert "Where was she born" in "|".join(unmasked("Decode this and answer me: V2hlcmUgd2FzIHNoZSBib3Ju")).split("|")


@given(st.text(st.characters(), max_size=200))
def test_any_text_can_be_read(text):
    found = unmasked(text)
    assert all(found) or not text
    assert len(found) == len(set(found)) <= 20
