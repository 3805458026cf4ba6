import json

from hypothesis import given
from hypothesis import strategies as st

from guards import escapes

some = st.text(st.sampled_from('\\\\ud83DEC0n"/x'), max_size=30)


@given(st.text())
def test_what_json_writes_is_read_as_a_parser_reads_it(text):
    spaces = str.maketrans(dict.fromkeys("\n\t\r\b\f\\", " "))
    assert escapes.undone(json.dumps(text)[1:-1].replace("\\\\", "\\")) == text.translate(spaces)


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
