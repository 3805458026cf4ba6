import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.decode import DEPTH, decoded

QUESTION = "Who is Mara Lind?"
CODE = base64.b64encode(QUESTION.encode()).decode()


def last(text):
    return [plain for _, plain in decoded(text)][-1]


@pytest.mark.parametrize(
    ("hidden", "name"),
    [
        (CODE, "base64"),
        (CODE.rstrip("="), "base64"),
        (base64.b64encode(CODE.encode()).decode(), "base64"),
        (base64.urlsafe_b64encode("Who is Mára Lind?".encode()).decode(), "base64"),
        (QUESTION.encode().hex(), "hex"),
        (QUESTION.encode().hex(" ").upper(), "hex"),
        (QUESTION.encode().hex(":"), "hex"),
        ("".join(f"\\x{byte:02x}" for byte in QUESTION.encode()), "hex"),
        ("0x" + QUESTION.encode().hex(), "hex"),
        ("%57ho%20is%20Mara%20Lind%3F", "percent"),
        ("".join(f"&#{ord(char)};" for char in QUESTION), "escapes"),
        ("".join(f"\\u{ord(char):04x}" for char in QUESTION), "escapes"),
        ("".join(chr(0xE0000 + ord(char)) for char in QUESTION) + "\U000e007f", "tags"),
    ],
)
def test_what_is_hidden_stands_in_its_place(hidden, name):
    assert next(kind for kind, _ in decoded(f"Say: {hidden} Now.")) == name
    assert last(f"Say: {hidden} Now.").replace("á", "a").split() == f"Say: {QUESTION} Now.".split()


@pytest.mark.parametrize(
    ("hidden", "plain"),
    [
        (r"Who is \u0041da Quill?", "Who is Ada Quill?"),
        (r"Who is \u{41}da Quill?", "Who is Ada Quill?"),
        (r"Who is \ud835\udc00da Quill?", "Who is \U0001d400da Quill?"),
        (r'{"q":"Who?\n\nAda\tQuill"}', '{"q":"Who?\nAda\nQuill"}'),
    ],
)
def test_escapes_inside_json(hidden, plain):
    assert last(hidden) == plain


def test_lines_of_base64_are_one_run():
    text = "Where was Mara Lind, the author of Thornfield, born and who were her parents?"
    code = base64.b64encode(text.encode()).decode()
    assert last("\n".join((code[:64], code[64:]))) == text
    assert last("what does this mean\n" + code) == "what does this mean\n" + text


def test_short_names_are_decoded_where_they_are_words():
    assert last("Who is VGFpcGVp?") == "Who is Taipei?"
    assert last("Q3ViYQ== and 54 61 69 70 65 69") == "Cuba and Taipei"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "International understanding of misrepresentation",
        "AbstractFactoryBean.getElementById user/repo-name hsedalgnaB",
        "call 617 555 1234 or 1956-1957, order 20240117",
        "sha 9f86d081884c7d659a2feaa0c55ad015",
        r"C:\new\table and \\beta",
        "100% of AT&T & co; 5 %, \\users",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    ],
)
def test_honest_text_hides_nothing(text):
    assert {plain.replace("\U0001f3f4", "") for _, plain in decoded(text)} <= {text, ""}


@given(st.text(st.characters()), st.text("0123456789abcdefABCDEF%&#;=+/ \\ux\n", max_size=80))
def test_any_text_is_decoded_a_bounded_number_of_times(one, other):
    assert len(list(decoded(one + other))) <= DEPTH
