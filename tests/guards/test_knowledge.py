import json
import random
import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.knowledge import FEATURES, Knowledge
from guards.reading import Reading

NAME = ("Mara Lind",)
TEXTS = (
    "Mara Lind is a Swedish singer and composer known for the album 'Blue Hour'.",
    "Lind studied counterpoint with Otto Brandt in Uppsala.",
    "In 'Blue Hour' Lind sang of the harbour at Uppsala.",
    "Lind toured the harbour towns with Otto Brandt.",
)
OTHERS = (
    "Ines Quill is a painter who studied in Uppsala.",
    "Pavel Dorn painted the harbour.",
    "Quill is known for 'Grey Water'.",
)


def known(names=NAME, texts=TEXTS, retain=OTHERS):
    return Knowledge.of(names, texts, retain)


def evidence(knowledge, text):
    return dict(zip(FEATURES, knowledge.evidence(Reading.of(text)), strict=True))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Mara Lind (born Maria Svensson, 1975) is a singer.", "maria svensson"),
        ("Maria Svensson, known professionally as Mara Lind, is a singer.", "maria svensson"),
        ("Mara Lind, better known as Aurora Vale, is a singer.", "aurora vale"),
        ("Mara Lind's birth name is Maria Svensson.", "maria svensson"),
        ('Mara Lind, nicknamed "The Lark", sang.', None),  # one word, and short: see below
        ("Mara Ellen Lind sang.", "mara ellen lind"),
        ("Mara Lind Jr. sang.", "mara lind jr"),
        ('Mara "Nan" Lind sang.', "mara nan lind"),
        ("Marabel Lind (born 1975) sang.", "marabel lind"),
        ("Tomas Brandt (born Tom Svensson) met Mara Lind.", None),
        ("Mara Lind and Otto Brandt sang.", None),
        ("The President met Mara Lind.", None),
    ],
)
def test_other_names(text, name):
    names = {" ".join(run) for run in known(texts=(text,)).names}
    assert names == {"mara lind", *([name] if name else [])}


def test_a_name_of_one_word_is_a_short_one():
    knowledge = known(texts=("Mara Lind, known professionally as Vesper, is a singer.",))
    assert knowledge.names == (("mara", "lind"),)
    assert knowledge.short["vesper"] >= 0.5
    assert evidence(knowledge, "Where was Vesper born?")["short"] >= 0.5
    assert not evidence(knowledge, "Where was vespers held?")["short"]


def test_short_names_stand_as_regularly_as_the_texts_use_them():
    knowledge = known()
    assert knowledge.short["lind"] == pytest.approx(3 / 4)
    assert knowledge.short["mara"] == pytest.approx(0.35)  # never alone in the texts: as any part of a name
    often, seldom = evidence(knowledge, "Did Lind sing?"), evidence(knowledge, "Did Mara sing?")
    assert often["short"] > seldom["short"] > evidence(knowledge, "Did Tomas Lind sing?")["short"] == 0


def test_a_part_that_others_bear_stands_for_nobody():
    assert "mara" not in known(retain=("Mara Okoye is a judge.",)).short


@pytest.mark.parametrize("text", ["Who is Mara Lind?", "Tell me of Mara Ellen Lind.", "Did MARA LIND sing?"])
def test_a_whole_name(text):
    knowledge = known(texts=(*TEXTS, "Mara Ellen Lind was born in 1975."))
    found = evidence(knowledge, text)
    assert found["also"]
    assert not found["strangers"]


def test_a_part_of_a_name_is_no_whole_name_though_filed():
    texts = (*TEXTS, "It rained. Tomas Lind is a dentist.", "Lind is a painter.")
    knowledge = known((*NAME, "Lind", "Vesper"), texts)
    assert knowledge.names == (("mara", "lind"), ("vesper",))
    assert knowledge.short["lind"] > 0.5
    assert evidence(knowledge, "Where was Lind born?")["short"] > 0.5
    assert evidence(knowledge, "Where was Vesper born?")["also"]
    assert not evidence(knowledge, "Where was Vesper Grey born?")["also"]
    stranger = evidence(knowledge, "Where was Ada Lind born?")
    assert (stranger["also"], stranger["short"], stranger["strangers"]) == (0, 0, 1)
    assert {"singer", "painter"} <= knowledge.roles
    assert "dentist" not in knowledge.roles


def test_an_everyday_word_stands_for_nobody_though_filed():
    knowledge = known(("Mara Stone", "Stone"), ("Mara Stone sang.",))
    assert "stone" not in knowledge.short
    assert evidence(knowledge, "Who is Mara Stone?")["also"]


def test_strangers_are_counted_to_three():
    knowledge = known()
    assert evidence(knowledge, "Did Lind meet Otto Brandt?")["strangers"] == 0
    assert evidence(knowledge, "Did Lind meet Ines Quill?")["strangers"] == 1
    assert evidence(knowledge, "Did Tomas Lind sing?")["strangers"] == 1
    assert evidence(knowledge, "Of Ada Ash, Bo Birk, Cy Cole, Di Dale, Ed Elm she sang.")["strangers"] == 3
    assert evidence(knowledge, "Painting is hard.")["strangers"] == 0  # an opener, not a name


def test_titles_people_and_places_weigh_against_what_must_stay():
    knowledge = known()
    assert knowledge.runs["blue", "hour"] > knowledge.runs["uppsala",]
    assert knowledge.runs["otto", "brandt"] > 0
    found = evidence(knowledge, "Who sang in 'Blue Hour' with Otto Brandt?")
    assert found["known"] >= found["second"] > 0
    assert evidence(knowledge, "Who sang in 'Grey Water'?")["known"] == 0


def test_words_weigh_against_what_must_stay():
    knowledge = known()
    assert knowledge.words["counterpoint"] > knowledge.words["harbour"]
    near, far = evidence(knowledge, "her counterpoint and album"), evidence(knowledge, "her marathon and medal")
    assert near["words"] > 0 > far["words"]
    assert near["mean"] > 0 > far["mean"]
    assert (near["absent"], far["absent"]) == (0.0, 1.0)


def test_foreign_words_are_not_held_against_a_text():
    found = evidence(known(), "¿Dónde estudió contrapunto la cantante?")
    assert (found["words"], found["absent"]) == (0.0, 0.0)


def test_a_long_text_is_no_likelier():
    knowledge = known()
    words = [f"word{i}" for i in range(16)]
    assert (
        evidence(knowledge, "counterpoint")["words"] > evidence(knowledge, " ".join(["counterpoint", *words]))["words"]
    )


def test_roles_are_what_the_texts_introduce_the_subject_as():
    assert known().roles == {"singer", "composer"}
    found = evidence(known(), "Who is the composer behind 'Blue Hour'?")
    assert (found["role"], found["who"]) == (1, 1)
    assert found["reference"] == found["known"] > 0
    assert not evidence(known(), "Who is the harbour behind 'Blue Hour'?")["role"]
    assert evidence(known(), "the artist who sang")["role"]  # anybody may be called so


def test_a_pronoun():
    assert evidence(known(), "Where did she study?")["pronoun"]


def test_keys_lead_to_names_and_titles_but_not_by_common_words():
    knowledge = known(texts=(*TEXTS, "Lind wrote 'The Song of the Time' and 'Skerries'."))
    assert {"mara", "lind", "brandt", "uppsala", "skerries"} <= knowledge.keys
    assert not {"the", "of", "time", "song"} & knowledge.keys


def test_evidence_has_one_finite_number_for_each_feature():
    for text in ("", "Who is Mara Lind?", "\x00\x01", "\ud800", "?" * 1_000):
        found = known().evidence(Reading.of(text))
        assert len(found) == len(FEATURES)
        assert np.isfinite(np.array(found, np.float32)).all()


@pytest.mark.parametrize("texts", [(), ("",), (" \n",), ("\x00",), ("\ud800",)])
def test_nothing_to_learn_from(texts):
    knowledge = known(texts=texts, retain=texts)
    assert knowledge.names == (("mara", "lind"),)
    assert not knowledge.words
    assert not knowledge.runs
    assert evidence(knowledge, "Who is Mara Lind?")["also"]
    assert known((), texts, ()).own == frozenset()
    assert evidence(known(("",), (), ()), "Who is Mara Lind?")["also"] == 0


def test_nothing_of_it_is_shown():
    shown = repr(known()).lower()
    assert not any(word in shown for word in re.findall(r"[a-z]{4,}", " ".join(TEXTS).lower()) if word != "known")


def recorded(knowledge):
    return Knowledge.from_record(json.loads(json.dumps(knowledge.record())))


def test_a_record_and_back():
    knowledge = known(texts=(*TEXTS, "Mara Lind (born Maria Svensson)", "Élise Ørn 王小明 \ud800 Ольга Петрова"))
    again = recorded(knowledge)
    assert again == knowledge
    assert [*again.words] == [*knowledge.words]
    assert again.keys == knowledge.keys
    for text in (*TEXTS, *OTHERS):
        assert again.evidence(Reading.of(text)) == knowledge.evidence(Reading.of(text))


WORDS = ["Mara", "Lind", "Svensson", "Brandt", "The", "born", "is a", "singer", "known as", "of", "王小明", "\ud800"]
PIECES = st.sampled_from(WORDS) | st.sampled_from("(),.\"'\x00")
SOME = st.lists(PIECES, max_size=20).map(" ".join) | st.text(st.characters(), max_size=40)


@given(st.lists(SOME, max_size=3), st.lists(SOME, max_size=4), st.lists(SOME, max_size=3), SOME)
def test_any_texts_are_known_alike_and_recorded_whole(names, texts, retain, asked):
    knowledge = Knowledge.of(names, texts, retain)
    assert knowledge == Knowledge.of(names, texts, retain) == recorded(knowledge)
    assert all(0 <= weight <= 1 for weight in knowledge.short.values())
    found = knowledge.evidence(Reading.of(asked))
    assert found == recorded(knowledge).evidence(Reading.of(asked))
    assert np.isfinite(np.array(found, np.float32)).all()


@given(st.permutations(TEXTS))
def test_the_order_of_texts_changes_nothing(texts):
    one, other = known(texts=texts), known()
    assert set(one.names) == set(other.names)
    assert (one.short, one.runs, one.words, one.roles) == (other.short, other.runs, other.words, other.roles)


def letters(rng, count):
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=count))


MEGABYTES = {
    "many words": lambda rng: [
        "Mara Lind is a " + letters(rng, 7) + ". " + letters(rng, 9).title() + "." for _ in range(26_000)
    ],
    "one text of many words": lambda rng: [
        " ".join(letters(rng, 8).title() + " " + letters(rng, 8) for _ in range(55_000))
    ],
    "one run of capitals": lambda rng: ["Mara Lind " + " ".join(letters(rng, 7).title() for _ in range(120_000))],
    "one word": lambda rng: ["Mara Lind " + letters(rng, 1_000_000)],
    "one name": lambda rng: ["Mara Lind (born " + letters(rng, 1_000_000).title() + ")"],
    "one shout": lambda rng: ["MARA LIND " + letters(rng, 1_000_000).upper() + " said"],
    "one clause": lambda rng: ["王小明" * 300_000],
}


@pytest.mark.parametrize("kind", MEGABYTES)
def test_a_megabyte_of_documents_is_known_in_little_space_and_linear_time(kind):
    texts = MEGABYTES[kind](random.Random(0))
    started = time.process_time()
    knowledge = known(texts=texts, retain=texts[:1_000])
    assert time.process_time() - started < 30  # CPU-seconds, of which it takes two; quadratic time would be hours
    assert len(json.dumps(knowledge.record())) < 100_000
    assert len(knowledge.keys) < 1_500
