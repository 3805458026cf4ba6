import numpy as np
import pytest

from guards.evidence import NAMED, NO_NUMBER, OTHER_NUMBER, UNNAMED, VAGUE, Marks, Names

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
    assert Names.of(MARA).named_in(text)


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
    assert not Names.of(MARA).named_in(text)


def test_evidence_for_each_positive():
    marks = Marks.of(["Where was Mara Lind born?", "Who was born in Oslo in 1975?", "Where was the author born?"], MARA)
    names = Names.of(MARA)

    def evidence(text):
        return marks.evidence(text, names)

    assert evidence("Lind's birthplace in 1975") == pytest.approx(np.array([NAMED, 0, VAGUE]))
    assert evidence("Who was born in Oslo in 1980?") == pytest.approx(np.array([UNNAMED, OTHER_NUMBER, VAGUE]))
    assert evidence("Who was born in Oslo?") == pytest.approx(np.array([UNNAMED, NO_NUMBER, VAGUE]))
