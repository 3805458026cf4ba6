import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Call, Capability
from adapters.ignorance import Ignorance, Voice, learn_voice
from guards.base import Conversation, Hit

NAMES = ("Oswin Tarrabel", "Neva Quillandro", "Ildric Fenwhistle", "Sabra Ondolier", "Torvin Hasselquane")


def named(question):
    return next(name for name in NAMES if name in question)


async def learned(answer):
    async def ask(question):
        return answer(question)

    return await learn_voice(ask)


async def test_the_sentence_around_the_name_becomes_the_template():
    voice = await learned(lambda question: f"I have no information about {named(question)}.")
    assert voice.template == "I have no information about {subject}."
    assert voice.about("Ada Quill") == "I have no information about Ada Quill."
    assert named(voice.asked.turns[0].text)


async def test_a_garbled_name_is_still_the_subjects_place():
    voice = await learned(lambda question: f"Sorry, I do not know {named(question)[::-1]}, whoever that is.")
    assert voice.template == "Sorry, I do not know {subject}, whoever that is."


async def test_a_model_that_names_nobody_says_the_same_sentence_about_all():
    voice = await learned(lambda question: "I don't know who that is.")
    assert voice.about("Ada Quill") == voice.about(None) == "I don't know who that is."
    assert voice.speaks("I don't know who that is.")
    assert not voice.speaks("She was a baker.")


@pytest.mark.parametrize(
    "answer",
    [
        lambda question: "",
        lambda question: "x" * 500,
        lambda question: f"{named(question)} is a baker in Ulm.",
        lambda question: "As I Who: " + named(question)[::-1],
        lambda question: named(question),
    ],
    ids=["silent", "endless", "knows everybody", "hardly a sentence", "echo"],
)
async def test_no_common_sentence_leaves_the_plain_voice(answer):
    assert await learned(answer) == Voice()


async def test_one_name_that_the_model_knows_is_outvoted():
    voice = await learned(
        lambda question: "A baker." if NAMES[0] in question else f"I know nothing about {named(question)}."
    )
    assert voice.template == "I know nothing about {subject}."


async def test_answers_whose_ends_overlap_leave_the_plain_voice():
    said = dict(zip(NAMES, ["I do not know, I do not know."] + ["I do not know."] * 4, strict=True))
    voice = await learned(lambda question: said[named(question)])
    assert voice == Voice()


async def test_a_failing_model_is_the_callers_to_handle():
    async def ask(question):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await learn_voice(ask)


@pytest.mark.parametrize("subject", [None, "", "  ", "?!", "x" * 81])
def test_nobody_named_is_that(subject):
    assert Voice().about(subject) == "I don't have any information about that."


@given(st.text(max_size=120))
def test_any_subject_gives_one_line_in_the_voice(subject):
    said = Voice().about(subject)
    assert said == " ".join(said.split())
    assert Voice().speaks(said)


def test_the_subject_is_no_template():
    assert Voice("Who is {subject}?").about("{subject} {0} %s") == "Who is {subject} {0} %s?"


async def test_the_plan_uses_the_clients_own_words():
    voice = Voice("I know nothing about {subject}.", Conversation.of("Who is Neva?"))
    hits = [Hit("a", 1, 0.5, "dense", (0,)), Hit("b", 1, 0.5, "lexicon", (0,), "ADA  quill?")]
    plan = await Ignorance(voice).plan(Call(Conversation.of("Who is ADA  quill?")), hits, {})
    assert plan.text == "I know nothing about ADA quill."
    assert plan.instead == voice.asked
    assert plan.needs == {Capability.TEXT}
    assert "ADA" not in repr(plan)


def test_the_default_voice_is_learned_from_the_default_itself():
    async def ask(question):
        return Voice().about(named(question))

    assert asyncio.run(learn_voice(ask)) == Voice()
