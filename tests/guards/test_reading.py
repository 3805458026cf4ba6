import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from guards.reading import Reading, Text, bare, runs, unquoted

ANY = st.text(st.characters(), max_size=60)  # lone surrogates and control characters too
SIGNS = "\"'“”.-?\n ()_\x00\u200b\ud800\u115f"
WORDS = ["Mara", "Lind", "of", "the", "The", "Mc", "J.", "who", "star", "a", "1975", "Ольга", "王小明", "É", "ǅ", "’s"]
PIECES = st.sampled_from(WORDS) | st.sampled_from(SIGNS)
PUZZLES = st.lists(PIECES, max_size=30).map("".join) | st.lists(PIECES, max_size=30).map(" ".join)


def names(text):
    return [" ".join(run) for run in runs(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Where was Mara Lind born?", ["where", "mara lind"]),
        ("where was mara lind born?", []),
        ("He met Mara Lind and Otto Brandt.", ["he", "mara lind and otto brandt"]),
        ("He met Mara Lind, Otto Brandt.", ["he", "mara lind", "otto brandt"]),
        ("by J. K. Thornfield", ["j k thornfield"]),
        ("by J.K. Thornfield", ["j k thornfield"]),
        ("It is I. Mara left.", ["it", "i mara"]),  # nobody can tell it from an initial
        ("the end. Mara left", ["mara"]),
        ("Lind's mother, Mara Lind’s dog", ["lind", "mara lind"]),
        ("the Bay of the Lind in Oslo", ["bay of the lind in oslo"]),
        ("the Bay of the old Lind", ["bay", "lind"]),
        ("the Bay of", ["bay"]),
        ("Anne-Marie O’Lind", ["anne marie olind"]),
        ("Apollo 13 and 14 flew", ["apollo 13 and 14"]),
        ("in 1975 Mara", ["mara"]),
        ("Ольга Петрова, Élise Ørn", ["oльra пetpoba", "elise orn"]),
        ("王小明在哪里出生", []),
        ("", []),
    ],
)
def test_runs(text, found):
    assert names(text) == found


@pytest.mark.parametrize("quotes", ['""', "''", "“”", "‘’", "()"])
def test_a_nickname_is_part_of_its_name(quotes):
    text = f"Ann {quotes[0]}Nan{quotes[1]} Lee sang"
    assert unquoted(text) == "Ann Nan Lee sang"
    assert Reading.of(text).runs == (("ann", "nan", "lee"),)
    assert Reading.of(text).titles == ()


@pytest.mark.parametrize("text", ["She sang “Nan” in Oslo", "Ann (the singer) Lee", 'Ann said "Nan was here" Lee'])
def test_what_stands_in_quotes_is_no_nickname_where_no_name_goes_on(text):
    assert unquoted(text) == text


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ('the star of "Blue Hour" and “A Long Way”', (("blue", "hour"), ("a", "long", "way"))),
        ("the star of 'Full Boat' and ‘Lind’s Boat’", (("full", "boat"), ("lind", "boat"))),
        ("it's Lind's and the dogs' bowl", ()),
        ('""', ()),
        ('"…!"', ()),
    ],
)
def test_titles(text, titles):
    assert Reading.of(text).titles == titles


def test_a_title_is_no_name_beside():
    assert Reading.of("Did 'Blue Hour' win, and who is Blue Hour?").runs == (("did",),)


def test_openers_are_capitalised_by_the_sentence():
    assert Reading.of("Mara sang. Did she? Otto:\n  Ines\nÉlise and Pavel").openers == {
        *("mara", "did", "ines", "elise"),
        "otto",
    }


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("Who is the artist behind the song?", {"artist"}),
        ("the famous young singer from Oslo", {"singer"}),
        ("an actress who sings", {"actress"}),
        ("El actor que canta", {"actor"}),
        ("Where was Mara born?", set()),
    ],
)
def test_roles(text, roles):
    assert Reading.of(text).roles == roles


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("Where was Mara Lind born and what did she study?", False),
        ("¿Dónde nació Mara Lind y qué estudió?", True),
        ("Wo wurde Mara Lind geboren?", True),
        ("王小明在哪里出生？", True),
        ("", False),
    ],
)
def test_foreign_text(text, foreign):
    assert Reading.of(text).foreign == foreign


@pytest.mark.parametrize(
    ("text", "who", "pronoun"),
    [
        ("Who wrote it?", True, False),
        ("Where did she study?", False, True),
        ("¿Quién cantó su canción?", True, True),
        ("The film was directed by _", True, False),
        ("Whole sheds", False, False),
    ],
)
def test_who_and_pronouns(text, who, pronoun):
    assert (Reading.of(text).who, Reading.of(text).pronoun) == (who, pronoun)


def test_bare():
    assert bare(("did", "lind")) == ("lind",)
    assert bare(("did", "where")) == ()
    assert bare(("will", "lind"), {"will"}) == ("will", "lind")
    assert bare(()) == ()


def test_words_are_telling():
    assert Reading.of("What did Mara study, and the geologist?").words == {"mara", "geologist"}


def test_a_text_is_read_once():
    text = Text("Where was Mara Lind born?")
    assert text.reading is text.reading
    assert text == "Where was Mara Lind born?"


def test_nothing_of_the_text_is_shown():
    shown = repr(Reading.of("Who is the artist 'Blue Hour' Mara Lind?")).lower()
    assert not any(word in shown for word in ("mara", "lind", "blue", "artist"))


@given(ANY | PUZZLES)
def test_any_text_is_read_and_always_alike(text):
    reading = Reading.of(text)
    assert reading == Reading.of(text)
    assert all(run and all(run) for run in reading.runs + reading.titles)
    assert "" not in reading.openers | reading.words | reading.roles


@given(PUZZLES, st.sampled_from([" and then he said no. ", "\n\n", " ... "]))
def test_what_lies_apart_is_read_apart(text, gap):
    assume(not any(char in text for char in "\"'“”’(."))
    assert names(text + gap + text) == names(text) * 2


HOSTILE = [
    "a\n",
    "\n",
    " ",
    "A",
    "Aa ",
    '"A ',
    'w "A',
    "'",
    "the ",
    "the a-b ",
    "A. ",
    ": \n",
    "’s",
    "who",
    "王",
    "-",
    "A-",
]
BOUND = 10.0  # CPU-seconds; a hundredth is enough where time is linear, minutes are not where it is quadratic


@pytest.mark.parametrize("piece", HOSTILE)
def test_time_is_linear(piece):
    started = time.process_time()
    Reading.of("the " + piece * (200_000 // len(piece)) + " who")
    assert time.process_time() - started < BOUND


@settings(max_examples=8, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=6).map("".join))
def test_time_is_linear_in_anything_repeated(piece):
    started = time.process_time()
    Reading.of(piece * (200_000 // len(piece)))
    assert time.process_time() - started < BOUND


def test_a_megabyte():
    reading = Reading.of("Mara Lind sang 'Blue Hour'. " * 40_000)
    assert reading.runs == (("mara", "lind"),)
    assert reading.titles == (("blue", "hour"),)
