import json

from hypothesis import given
from hypothesis import strategies as st

from guards import escapes

some = st.text(st.sampled_from('\\\\ud83DEC0n"/x'), max_size=30)
SPACES = str.maketrans(dict.fromkeys("\n\t\r\b\f", " "))


@given(st.text(st.characters(exclude_characters="\\")))
def test_what_json_writes_is_read_as_a_parser_reads_it(text):
    assert escapes.undone(json.dumps(text)[1:-1]) == text.translate(SPACES)


@given(st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"], exclude_characters="\\")))
def test_json_in_a_string_of_json_is_read_as_well(text):
    nested = json.dumps(json.dumps(text)[1:-1])[1:-1]
    assert "".join(escapes.undone(nested).split()) == "".join(text.translate(SPACES).split())


@given(some, st.integers(0, 30))
def test_parts_do_not_depend_on_the_cuts(text, at):
    parts, begun = [], ""
    for piece in (text[:at], text[at:]):
        whole, begun = escapes.whole(begun + piece)
        parts += escapes.parts(whole)
    parts += escapes.parts(begun)
    assert "".join(parts) == text
    assert [one for one in parts if one[0] == "\\"] == [one for one in escapes.parts(text) if one[0] == "\\"]


def test_what_is_no_escape_stays():
    assert escapes.undone(r"\q \u00zz \ud835") == " q  u00zz \ud835"
