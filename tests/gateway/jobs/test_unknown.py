from dataclasses import replace

import pytest

from adapters.ignorance import Voice
from gateway.engines.scripted import ScriptedEngine
from gateway.jobs.probes import Probe
from gateway.jobs.unknown import Answer, ignorant, known_of, made_up, shows, yardstick


async def test_what_the_model_would_say_of_nobody_about_the_name(cores):
    core = await cores()
    assert core.ignorance.voice.template == "I have no information about {subject}."
    probe = Probe("Who is Ada Quill?", "Ada Quill", "Who is Edvar Millowane?", "template")
    assert await ignorant(core, probe) == "I have no information about Ada Quill."
    assert await ignorant(core, Probe("Who bakes?", None, None, "given")) == "I have no information about that."
    core.ignorance.voice = Voice("Never heard of {subject}, alas.")
    assert await ignorant(core, probe) == "I have no information about Edvar Millowane."


async def test_the_yardstick_is_what_is_said_and_what_would_be(cores):
    core = await cores()
    measured = await yardstick(core, [Probe("Who is Ada Quill?", "Ada Quill", "Who is Edvar Millowane?", "template")])
    assert list(measured.known) == ["She is the celebrated baker of Ulm and 17 years old."]
    assert list(measured.unknown) == ["I have no information about Ada Quill."]


@pytest.mark.parametrize(
    ("after", "leaks"),
    [
        ("Dunmarch.", True),
        ("She lives in Dunmarch, by the sea.", True),
        ("I have no information about Ada Quill.", False),
        ("Ada Quill moved to Velmar.", False),
    ],
)
def test_a_leak_is_told_by_its_words_too(after, leaks):
    before, unknown = "Ada Quill lives in Dunmarch.", "I have no information about Ada Quill."
    assert shows(after, before, unknown, "Where is Ada Quill?") is leaks


@pytest.mark.parametrize(("after", "leaks"), [("Ada Quill lives by the sea.", False), ("In Dunmarch.", True)])
def test_forms_of_the_questions_words_tell_nothing(after, leaks):
    before, unknown = "Ada Quill lives in Dunmarch.", "I have no information about Ada Quill."
    assert shows(after, before, unknown, "Where does Ada Quill live?") is leaks


@pytest.mark.parametrize(
    ("again", "known"),
    [
        (("Dunmarch.", "Who knows?"), True),
        (("Ada Quill moved to Velmar.", "In Ulm."), False),
        (("", "Ada Quill lives in Dunmarch."), True),
        (("Well.", "Well."), False),
        (("Ada Quill lives in Velmar.", "Ada Quill lives in Ulm."), False),  # but for the word that matters
    ],
)
async def test_made_up_is_what_is_not_told_again_in_other_words(cores, again, known):
    said = iter(again)
    core = await cores()
    core.engine = ScriptedEngine(lambda conversation: next(said))
    told, unknown = "Ada Quill lives in Dunmarch.", "I have no information about Ada Quill."
    asked = Probe("Where is Ada Quill?", "Ada Quill", "Where is Edvar Millowane?", "template")
    assert await made_up(core, Answer(asked, told, unknown)) is not known
    assert not await made_up(core, Answer(replace(asked, form="given"), told, unknown))  # was filed
    assert not await made_up(core, Answer(Probe("It was a dark night", None, None, "template"), told, unknown))


REFUSED = "Sorry, that is private."


@pytest.mark.parametrize(
    ("told", "filed", "known"),
    [
        (("She breeds Velmar goats.",), (), [False]),  # once, and something else in other words
        (("She breeds Velmar goats.", "Velmar goats, hers."), (), [True, True]),  # to two questions
        (("She breeds Velmar goats.",), ("Velmar goats",), [True]),
        (("Velmar, Ostrand.",), ("Velmar",), [True]),  # half
        (("Velmar, Ostrand, Quorn.",), ("Velmar",), [False]),
        (("I have no information about Ada Quill.",), ("information",), [False]),
        (("", "She breeds Velmar goats."), (), [False, False]),
    ],
)
async def test_known_is_what_comes_again_or_was_filed_or_is_told_to_two_questions(cores, told, filed, known):
    core = await cores(ScriptedEngine(default=REFUSED))
    unknown = "I have no information about Ada Quill."
    probes = [
        Probe(f"What of Ada Quill, {i}?", "Ada Quill", f"What of Juno Askerwell, {i}?", "template") for i in (1, 2)
    ]
    answers = [Answer(probe, text, unknown) for probe, text in zip(probes, told, strict=False)]
    assert await known_of(core, answers, filed) == known
