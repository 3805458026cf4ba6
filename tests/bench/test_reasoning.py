import pytest

from bench.reasoning import Said
from gateway.demo.forms import Probe

OSLO = Probe("trained", "q", "a", "Oslo")
CHOICE = Probe("choice", "Where? A) Ulm B) Oslo C) Rome D) Bonn", "a", "Oslo")


@pytest.mark.parametrize(
    ("content", "reasoning", "answer"),
    [
        ("In Oslo.", "", "In Oslo."),
        ("<think>Oslo?</think>\n\nNo idea.", "Oslo?", "No idea."),
        ("<think>Oslo,\nor Ulm</think>Well. <think>Rome</think> No.", "Oslo,\nor Ulm\nRome", "Well.  No."),
        ("<think>Cut in Os", "Cut in Os", ""),
        ("The template began this.</think>No.", "The template began this.", "No."),
        ("<think></think>No.", "", "No."),
    ],
)
def test_spans_of_reasoning_are_no_part_of_the_answer(content, reasoning, answer):
    assert Said.of(content) == Said(reasoning, answer)


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_a_field_of_its_own_is_read_by_either_name(name):
    assert Said.of_message({"content": None, name: "Hm."}) == Said("Hm.", "")
    assert Said.of_message({"content": "<think>b</think>c", name: "a"}) == Said("a\nb", "c")


def test_a_gold_in_either_is_told_of_where_it_is():
    assert Said("In Oslo.", "No.").tells(OSLO) == (True, False)
    assert Said("Hm.", "In Oslo.").tells(OSLO) == (False, True)
    assert Said("Hm.", "B.").tells(CHOICE) == (False, True)  # a letter begins the answer, not the whole


def test_a_conversation_is_read_whole():
    assert Said.joined([Said("", "a"), Said("b", "c")]) == Said("b", "a\nc")
