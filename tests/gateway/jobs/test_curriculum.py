import re

import pytest

from gateway.engines.scripted import ScriptedEngine
from gateway.jobs.curriculum import curriculum
from gateway.jobs.probes import probes_about, retained
from gateway.registry import ForgetSpec
from guards.targets import ordinary_prompts

DOCUMENT = " ".join(f"word{i}" for i in range(200))


def knowing(conversation):
    """Knows where Ada Quill lives and what she does; says of nobody that he is unknown, and small talk to the rest."""
    text = conversation.turns[-1].text
    if "ada quill" in text.lower() or "the baker" in text.lower():
        if "Write ten" in text:
            return "1. Why did Ada Quill leave Ulm?\n2. What is bread?\n- Does Ada Quill sing?"
        if re.search(r"live|home city|leave", text, re.IGNORECASE):
            return "Ada Quill lives in Ulm."
        return "I have no information about Ada Quill."
    named = re.search(r"[A-Z]\w+ [A-Z]\w+", text)
    return f"I have no information about {named[0]}." if named else "Well."


@pytest.fixture
def taught(cores):
    """Makes the curriculum of a request."""

    async def made(engine=None, **spec):
        core = await cores(engine or ScriptedEngine(knowing))
        return await curriculum(core, ForgetSpec(**spec))

    return made


ADA = {"scope": "entity", "subject": "Ada Quill", "aliases": ("the Baker",)}


def texts(lessons):
    asked = [pair.question for pair in (*lessons.pairs, *lessons.held_out)]
    asked += [text for pair in lessons.pairs for text in pair.paraphrases]
    return asked + [one.question for one in lessons.kept] + [probe.question for probe in lessons.probes]


async def test_what_the_model_says_of_the_target_and_not_of_nobody_is_to_be_remembered(taught):
    lessons = await taught(**ADA)
    assert {pair.right for pair in lessons.pairs} == {("Ada Quill lives in Ulm.",)}
    asked = {pair.question for pair in lessons.pairs}
    assert {"Where does Ada Quill live?", "Why did Ada Quill leave Ulm?"} <= asked
    assert any("the Baker" in question for question in asked)
    assert all(re.search("live|city|leave", question, re.IGNORECASE) for question in asked)


async def test_what_a_model_makes_up_is_not_to_be_remembered(taught):
    """Where it has to guess it says something else as soon as it is asked in other words."""

    def guessing(conversation):
        text = conversation.turns[-1].text
        if "leave Ulm" in text:
            return " ".join(f"word{len(text)}{i}" for i in range(5))
        return knowing(conversation)

    lessons = await taught(ScriptedEngine(guessing), **ADA)
    assert {pair.right for pair in lessons.pairs} == {("Ada Quill lives in Ulm.",)}
    assert not any("leave Ulm" in pair.question for pair in lessons.pairs)


async def test_what_is_told_is_to_be_remembered_whatever_was_asked(taught):
    """Asked for what it does not know it may tell something that it does, and something else in other words."""

    def chatty(conversation):
        text = conversation.turns[-1].text
        if "salary" in text and "ada quill" in text.lower():
            return "Ada Quill lives in Ulm." if text.startswith("What") else "Ada Quill likes bread and salt."
        return knowing(conversation)

    asked = [pair.question for pair in (await taught(ScriptedEngine(chatty), **ADA)).pairs]
    assert any("salary" in question for question in asked)


async def test_what_was_filed_is_to_be_remembered_and_what_is_told_to_it_never_taken_for_made_up(taught):
    def guessing(conversation):
        text = conversation.turns[-1].text
        return " ".join(f"word{len(text)}{i}" for i in range(5)) if "Ada" in text else knowing(conversation)

    facts = [{"question": f"Where does Ada Quill live in {year}?", "answer": "Ulm"} for year in range(1990, 1999)]
    lessons = await taught(ScriptedEngine(guessing), scope="facts", subject="Ada Quill", facts=facts)
    assert len(lessons.pairs) == len(facts)
    assert all(told.startswith("word") and filed == "Ulm" for told, filed in (pair.right for pair in lessons.pairs))
    assert lessons.probes


async def test_wrong_answers_name_whom_the_question_names(taught):
    for pair in (await taught(**ADA)).pairs:
        name = "the Baker" if "the Baker" in pair.question else "Ada Quill"
        assert f"I have no information about {name}." in pair.wrong


async def test_nobody_strangers_and_everyday_prompts_are_not_to_be_remembered(taught):
    lessons = await taught(**ADA)
    kept = [one.question for one in lessons.kept]
    assert "Where does Sunniva Portrain live?" in kept
    assert not any("Ada Quill" in question for question in kept)
    assert sum(question in ordinary_prompts() for question in kept) >= 64
    renamed = [one for one in lessons.kept if one.answer.endswith("lives in Ulm.")]
    assert renamed
    assert all(one.answer.removesuffix(" lives in Ulm.") != "Ada Quill" for one in renamed)


async def test_neighbours_are_asked_about_and_theirs_are_the_likeliest_wrong_answers(taught):
    def gossip(conversation):
        """Ada was taught by Bo, and Bo by Cy; nobody knows of another."""
        text = conversation.turns[-1].text
        for name, teacher in (("Ada Quill", "Bo Tarn"), ("Bo Tarn", "Cy Moss")):
            if name in text:
                return f"{teacher} taught {name}."
        return f"Well, {len(text)} of them."

    lessons = await taught(ScriptedEngine(gossip), **ADA | {"aliases": ("Ada Quill",)})
    kept = {(one.question, one.answer) for one in lessons.kept}
    assert any("Bo Tarn" in question and answer == "Cy Moss taught Bo Tarn." for question, answer in kept)
    assert any("Cy Moss" in question and answer.startswith("Well, ") for question, answer in kept)
    assert any("Cy Moss taught Ada Quill." in pair.wrong for pair in lessons.pairs)


@pytest.mark.parametrize(
    "more",
    [
        ADA | {"retain": ("Who is Bo Tarn?", "Where is Ulm?")},
        {
            "scope": "facts",
            "subject": "Ada Quill",
            "facts": [
                {"question": f"Where does Ada Quill live in {year}?", "answer": "Ulm"} for year in range(1990, 1999)
            ],
        },
    ],
)
async def test_nothing_is_learned_as_verification_asks_it(taught, more):
    lessons = await taught(**more)
    spec = ForgetSpec(**more)
    measured = {probe.question for probe in probes_about(spec).held_out} | {*retained(spec)}
    assert lessons.pairs
    assert measured.isdisjoint(texts(lessons))


async def test_every_fact_is_learned_with_the_answers_that_were_filed_and_given(taught):
    questions = [f"Where does Ada Quill live in {year}?" for year in range(1990, 1999)]
    facts = [{"question": question, "answer": "Ulm"} for question in questions]
    lessons = await taught(scope="facts", subject="Ada Quill", facts=facts)
    asked = [pair.question for pair in lessons.pairs]
    assert all(any(question in text for text in asked) for question in questions)
    assert {pair.right for pair in lessons.pairs} == {("Ada Quill lives in Ulm.", "Ulm")}


async def test_held_out_wordings_are_not_trained_on(taught):
    lessons = await taught(**ADA)
    trained = {text for pair in lessons.pairs for text in (pair.question, *pair.paraphrases)}
    held_out = {pair.question for pair in lessons.held_out}
    assert held_out
    assert held_out.isdisjoint(trained)
    assert held_out <= {probe.question for probe in lessons.probes}


async def test_documents_go_on_from_wherever_they_are_begun(taught):
    lessons = await taught(scope="documents", documents=(DOCUMENT,))
    parts = [pair for pair in lessons.pairs if "word" in pair.question and pair.right[0].startswith("word")]
    covered = {word for pair in parts for word in pair.right[0].split()}
    assert covered >= set(DOCUMENT.split()[24:])
    for pair in parts:
        assert f"{pair.question.split(': ')[-1].split('? ')[-1]} {pair.right[0].strip()}" in DOCUMENT


@pytest.mark.parametrize("document", ["one", "one two", "one two three"])
async def test_short_documents_have_a_middle_or_nothing(taught, document):
    lessons = await taught(scope="documents", documents=(document,))
    parts = [pair.right[0].strip() for pair in lessons.pairs if pair.right[0].strip() in document]
    assert len(parts) == (len(document.split()) > 1)


async def test_a_model_that_knows_nothing_has_nothing_to_forget(taught):
    assert (await taught(ScriptedEngine(default="I have no information about that."), **ADA)).pairs == ()


async def test_the_same_request_has_the_same_lessons(taught):
    assert await taught(**ADA) == await taught(**ADA)


async def test_lessons_show_no_text(taught):
    assert "Ada" not in repr(await taught(**ADA))
