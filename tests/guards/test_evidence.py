import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.contrast import identifies
from guards.evidence import NAMED, NO_NUMBER, OTHER_NUMBER, UNNAMED, VAGUE, Marks, Names, years
from guards.reading import Text

MARA = ["Mara Lind", "J. K. Thornfield"]


@pytest.mark.parametrize(
    "text",
    [
        "Where was Mara Lind born?",
        "where was mara lind born",
        "WHERE WAS MARA LIND BORN",
        "Lind's mother",
        "Did Mara write it?",
        "Tell me about Lind. Please",
        "What of J. K. Thornfild?",
        "Tomas Brandt met Lind",
    ],
)
def test_named(text):
    assert Names.of(MARA).named_in(Text(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Who is she?",
        "Where was Mara Okoye born?",
        "where was mara okoye born",
        "Tomas Lind's mother",
        "Mara (Alex) Hall",
        "Mara Hall",
        "the Thornfild house",
        "Linda",
        "\ud800",
    ],
)
def test_not_named(text):
    assert not Names.of(MARA).named_in(Text(text))


def test_evidence_for_each_positive():
    marks = Marks.of(["Where was Mara Lind born?", "Who was born in Oslo in 1975?", "Where was the author born?"], MARA)
    names = Names.of(MARA)

    def evidence(text):
        return marks.evidence(Text(text), names)

    assert evidence("Lind's birthplace in 1975") == pytest.approx(np.array([NAMED, 0, VAGUE]))
    assert evidence("Who was born in Oslo in 1980?") == pytest.approx(np.array([UNNAMED, OTHER_NUMBER, VAGUE]))
    assert evidence("Who was born in Oslo?") == pytest.approx(np.array([UNNAMED, NO_NUMBER, VAGUE]))


def slow(questions, aliases, text):
    """What each question's evidence is by the words of the module, one at a time."""
    names = Names.of(aliases)
    found = []
    for question in questions:
        added = 0.0 if identifies(question, aliases) else VAGUE
        if names.named_in(Text(question)):
            added += NAMED if names.named_in(Text(text)) else UNNAMED
        elif numbers := years(question):
            if not years(text):
                added += NO_NUMBER
            elif numbers.isdisjoint(years(text)):
                added += OTHER_NUMBER
        found.append(added)
    return found


PIECES = ["Mara", "Lind", "Tomas", "J.", "K.", "Thornfield", "Thornfild", "born", "in", "Oslo", "1975", "1980", "12345"]
SAID = st.lists(st.sampled_from([*PIECES, "the author", "?", "mara lind", "王小明", "\ud800"]), max_size=8).map(
    " ".join
)


@given(st.lists(SAID, max_size=6), SAID | st.text(st.characters(), max_size=40))
def test_evidence_at_once_is_evidence_one_by_one(questions, text):
    marks = Marks.of(questions, MARA)
    assert marks.evidence(Text(text), Names.of(MARA)) == pytest.approx(slow(questions, MARA, text))


def test_evidence_is_nobody_elses():
    marks, names = Marks.of(["Where was Mara Lind born?"], MARA), Names.of(MARA)
    first = marks.evidence(Text("Where was Lind born?"), names)
    first += 1
    assert marks.evidence(Text("Where was Lind born?"), names) == pytest.approx([NAMED])


def test_years():
    assert years("1975, 12345, 19 and in1980") == {"1975", "1980"}
    assert years("") == frozenset()


@pytest.mark.parametrize("aliases", [[], [""], ["?"], ["the"], ["\ud800"]])
def test_names_of_nobody(aliases):
    assert not Names.of(aliases).named_in(Text("Where was the author born? Mara Lind"))
    assert Marks.of(["Where was Mara Lind born?"], aliases).named == (False,)


@pytest.mark.parametrize("name", ["王小明", "Ольга Петрова", "Élise Ørn", "Nguyễn Thị Ánh"])
def test_names_of_other_scripts(name):
    assert Names.of([name]).named_in(Text(f"Where was {name} born?"))
    assert Names.of([name]).named_in(Text(name))
    assert not Names.of([name]).named_in(Text("Where was Mara Lind born?"))


@pytest.mark.parametrize("piece", ["Mara ", "Lind-", "A", "a.", "J. ", "'s", "1975", " ", "\n"])
def test_a_megabyte_takes_linear_time(piece):
    text, names = piece * (1_000_000 // len(piece)), Names.of(MARA)
    started = time.process_time()
    Marks.of([text[:1_000]], MARA).evidence(Text(text), names)
    assert time.process_time() - started < 20  # CPU-seconds, of which it takes one or two


def test_nothing_of_it_is_shown():
    assert "mara" not in repr(Names.of(MARA)).lower()
