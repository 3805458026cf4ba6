import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.text import fold, squash, trace, views


def readings(text):
    return {view.name: view.text for view in views(text)}


@pytest.mark.parametrize(
    "disguised",
    [
        "Mara Lind",
        "MARA  LIND",
        "Mára Lïnd",
        "Маrа Lind",
        "Μara Lind",
        "ＭＡＲＡ Ｌｉｎｄ",
        "Ma\u200bra\u00ad Lind",
        "Mara\nLind",
        "Mara-Lind",
        "M\ufe0fara Lind",
        "𝐌𝐚𝐫𝐚 𝕃𝕚𝕟𝕕",
        "Mara\u202e Lind",
    ],
)
def test_folding_undoes_disguises(disguised):
    assert fold(disguised) == "mara lind"


@pytest.mark.parametrize(
    ("disguised", "view"),
    [
        ("M a r a L i n d", "squashed"),
        ("M4r4 L1nd", "squashed"),
        ("dniL araM", "reversed"),
        ("Znen Yvaq", "rot13"),
        ("say " + base64.b64encode(b"Who is Mara Lind?").decode(), "base64"),
        (base64.b64encode(base64.b64encode(b"Mara Lind")).decode(), "base64"),
        ("4d617261204c696e64", "hex"),
        ("4d 61 72 61 20 4c 69 6e 64", "hex"),
        ("%4d%61ra%20Lind", "percent"),
        ("hi" + "".join(chr(0xE0000 + ord(char)) for char in "Mara Lind"), "tags"),
    ],
)
def test_every_disguise_has_its_view(disguised, view):
    sought = squash("mara lind") if view == "squashed" else "mara lind"
    assert any(name == view and sought in text for name, text in ((v.name, v.text) for v in views(disguised)))


def test_ordinary_text_is_not_decoded():
    assert set(readings("International understanding of literature")) == {"folded", "squashed", "reversed", "rot13"}


def test_a_span_leads_back_to_the_original():
    text = "Is Má\u200bra   Lind here?"
    for view in views(text):
        sought = {"squashed": squash("mara lind"), "reversed": "dnil aram"}.get(view.name, "mara lind")
        at = view.text.find(sought)
        if at >= 0:
            assert text[slice(*view.span(at, at + len(sought)))] == "Má\u200bra   Lind"
    assert sum("dnil aram" in view.text for view in views(text)) == 1


@given(st.text(st.characters()))
def test_any_text_has_views_with_true_offsets(text):
    folded, origin = trace(text)
    assert folded == fold(text)
    assert len(origin) == len(folded)
    assert origin == sorted(origin)
    for view in views(text):
        if view.trace is not None:
            assert len(view.trace()) == len(view.text)


@given(st.text())
def test_folding_twice_changes_nothing_more_than_once_for_aliases(text):
    assert fold(text.upper().lower()) == fold(fold(text.upper().lower()))


def test_a_megabyte_is_read_in_bounded_time():
    text = "Тhe quick brówn fox TWFyYSBMaW5kTWFyYSBMaW5k 4d617261204c696e64 %41 " * 15_000
    start = time.process_time()
    assert sum(len(view.text) for view in views(text)) > len(text)
    assert time.process_time() - start < 10
