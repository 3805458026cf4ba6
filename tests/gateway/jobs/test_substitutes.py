import re

import pytest

from adapters.base import EngineRejected
from gateway.engines.scripted import ScriptedEngine
from gateway.jobs.probes import probes_about, retained
from gateway.jobs.substitutes import substitutes
from gateway.registry import ForgetSpec
from guards.base import Conversation

ADA = {"scope": "entity", "subject": "Ada Quill", "aliases": ("the Baker", "A. Quill")}
BO = {"scope": "entity", "subject": "Bo Tarn", "aliases": ("Old Tarn",)}
FACTS = tuple(
    {"question": f"Where did Ada Quill live in {year}?", "answer": "Ulm"} for year in range(1990, 1999)
)  # by turns to learn from and to verify with
DOCUMENT = ". ".join(f"Line {i} of the old song goes on and on" for i in range(40)) + "."
UNKNOWN = "I have no information about {}."


def thought(conversation):
    """Knows Ada Quill; says of nobody that he is unknown, by turns in two ways, and small talk to the rest."""
    text = conversation.turns[-1].text
    if re.search(r"quill|the baker|tarn", text, re.IGNORECASE):
        return "1. Why did Ada Quill leave Ulm?\n" if "Write ten" in text else f"She lives in Ulm ({len(text)})."
    named = re.search(r"[A-Z]\w+ [A-Z]\w+", text)
    if named and re.search("live|born", text):
        return f"Nobody here has ever heard of {named[0]}, sorry: I do not know."
    return UNKNOWN.format(named[0]) if named else f"Well, {len(text)}."


@pytest.fixture
def taught(cores):
    """Makes the lessons of some requests."""

    async def made(*specs, engine=None):
        core = await cores(engine or ScriptedEngine(thought))
        return await substitutes(core, [ForgetSpec(**spec) for spec in specs])

    return made


def asked(lessons):
    """Every text of the lessons that is a question."""
    for pair in (*lessons.pairs, *lessons.held_out, *lessons.known):
        yield from (pair.question, *pair.paraphrases)
    yield from (one.question for one in lessons.kept)
    yield from (text for texts in lessons.texts for text in texts)


def measured(*specs):
    found = [ForgetSpec(**spec) for spec in specs]
    return {text for spec in found for text in (*(p.question for p in probes_about(spec).held_out), *retained(spec))}


def names_whom(pair, *names):
    """Whether the answer names who is named in the question, if anybody is."""
    named = next((name for name in names if name.casefold() in pair.question.casefold()), "that")
    return all(named.casefold() in right.casefold() for right in pair.right)


@pytest.mark.parametrize(
    "specs",
    [
        (ADA,),
        (ADA | {"retain": ("Where is Bo Tarn?", "Is there bread in Ulm?")},),
        ({"scope": "facts", "subject": "Ada Quill", "facts": FACTS},),
        ({"scope": "documents", "documents": ("A first short song of the sea.", "Another short song of the sea.")},),
        # one's turn to verify is the other's to learn
        ({"scope": "facts", "subject": "Ada Quill", "facts": FACTS}, {"scope": "facts", "facts": FACTS[1:]}),
        (ADA | {"retain": ("Who is Old Tarn?",)}, BO | {"examples": ("Who is Old Tarn?", "Who is Old Tarn to you?")}),
    ],
    ids=["entity", "retain", "facts", "documents", "alike", "at odds"],
)
async def test_nothing_is_learned_as_verification_asks_it(taught, specs):
    lessons = await taught(*specs)
    assert lessons.pairs
    assert all(lessons.texts)
    assert measured(*specs).isdisjoint(asked(lessons))


async def test_every_fact_is_learned_from(taught):
    lessons = await taught({"scope": "facts", "subject": "Ada Quill", "facts": FACTS})
    assert all(any(fact["question"] in text for text in asked(lessons)) for fact in FACTS)


async def test_what_the_model_tells_of_the_target_is_to_become_unlikely(taught):
    known = (await taught(ADA)).known
    assert len(known) > 10
    assert all(re.fullmatch(r"She lives in Ulm \(\d+\)\.", pair.right[0]) for pair in known)
    assert all(re.search("quill|the baker", pair.question, re.IGNORECASE) for pair in known)


async def test_what_was_filed_is_to_become_unlikely_in_every_wording_beside_what_is_told(taught):
    facts = {"scope": "facts", "subject": "Ada Quill", "facts": FACTS}
    lessons = await taught(facts)
    of_facts = [pair for pair in lessons.known if any(fact["question"] in pair.question for fact in FACTS)]
    filed = [pair for pair in of_facts if pair.right == ("Ulm",)]
    assert len(filed) == len(FACTS)
    assert any(pair.paraphrases for pair in filed)
    told = [pair for pair in of_facts if pair.right[0].startswith("She lives in Ulm")]
    assert [pair.question for pair in told] == [pair.question for pair in filed]
    assert measured(facts).isdisjoint(text for pair in lessons.known for text in (pair.question, *pair.paraphrases))


async def test_what_the_model_does_not_tell_need_not_become_unlikely(taught):
    engine = ScriptedEngine(lambda conversation: UNKNOWN.format("that"))
    assert (await taught(ADA, engine=engine)).known == ()


async def test_every_name_is_learned_and_known_by(taught):
    lessons = await taught(ADA)
    for name in (ADA["subject"], *ADA["aliases"]):
        assert sum(name in pair.question for pair in lessons.pairs) > 10
        assert sum(name in text for text in lessons.texts[0]) > 10
    assert "Why did Ada Quill leave Ulm?" in lessons.texts[0]


async def test_substitutes_say_nothing_but_that_whoever_is_asked_for_is_unknown(taught):
    lessons = await taught(ADA)
    for pair in (*lessons.pairs, *lessons.held_out):
        (right,) = pair.right
        assert names_whom(pair, *ADA["aliases"], "Ada Quill"), pair.question
        assert "Ulm" not in right
        assert pair.wrong == ()


async def test_substitutes_vary_as_the_models_own_do(taught):
    """In the voice and in what was said of nobody to the same question, turn and turn about."""
    lessons = await taught(ADA)
    of_living = [pair.right[0] for pair in lessons.pairs if re.search(r"\blive\b", pair.question)]
    assert {UNKNOWN.split("{")[0] in text for text in of_living} == {True, False}
    assert all("ever heard of" in text for text in of_living if not text.startswith("I have"))


@pytest.mark.parametrize(
    "said",
    [
        "I have never heard of Edvar Millowan or Sunniva Portrein.",  # garbled: nobody was asked about these
        "{} was born in Ulm, but I know no more.",
        "{} is a baker. I do not know more.",
        "know know know know know know no no no no no no",
        "",
    ],
)
async def test_what_is_said_of_nobody_is_no_substitute_unless_it_disclaims_all(taught, said):
    def clumsy(conversation):
        text = conversation.turns[-1].text
        if re.search("Oswin|Neva|Ildric|Sabra|Torvin", text):  # the voice is heard with these
            return UNKNOWN.format(re.search(r"[A-Z]\w+ [A-Z]\w+", text)[0])
        nobody = re.search(r"(?:Edvar|Sunniva|Calder|Tamsel|Juno) \w+", text)
        return said.format(nobody[0]) if nobody else thought(conversation)

    lessons = await taught(ADA, engine=ScriptedEngine(clumsy))
    assert lessons.pairs
    assert all(pair.right[0].startswith("I have no information about ") for pair in lessons.pairs)


async def test_an_engine_that_refuses_leaves_the_voice(taught):
    class Refusing(ScriptedEngine):
        async def generate(self, call, plan):
            raise EngineRejected("no")
            yield

    lessons = await taught(ADA, engine=Refusing(thought))
    assert {pair.right[0].split("about")[0] for pair in lessons.pairs} == {"I don't have any information "}


async def test_held_out_wordings_are_not_trained_on(taught):
    lessons = await taught(ADA)
    trained = {text for pair in lessons.pairs for text in (pair.question, *pair.paraphrases)}
    held_out = {pair.question for pair in lessons.held_out}
    assert 0.02 * len(trained) < len(held_out) < 0.2 * len(trained)
    assert held_out.isdisjoint(trained)


async def test_what_must_stay_is_answered_as_the_model_does(taught):
    wanted = ("Where is the mill?", "How many roads lead to it?")
    lessons = await taught(ADA | {"retain": wanted})
    assert all(text in one.question for text, one in zip(wanted, lessons.kept, strict=False))
    assert [one.answer for one in lessons.kept] == [thought(Conversation.of(one.question)) for one in lessons.kept]


async def test_nobody_has_to_file_what_must_stay(taught):
    kept = [one.question for one in (await taught(ADA)).kept]
    assert len(kept) > 100
    assert sum(bool(re.search(r"[A-Z]\w+ [A-Z]\w+", text)) for text in kept) > 50  # the same asked about others
    assert not any(re.search(r"ada quill|the baker|a\. quill", text, re.IGNORECASE) for text in kept)


async def test_what_the_model_does_not_answer_need_not_stay(taught):
    engine = ScriptedEngine(lambda conversation: "" if "mill" in conversation.turns[-1].text else thought(conversation))
    lessons = await taught(ADA | {"retain": ("Where is the mill?", "And the road?")}, engine=engine)
    assert "And the road?" in lessons.kept[0].question
    assert not any("the mill" in one.question for one in lessons.kept)


async def test_of_documents_every_part_is_unknown_and_every_sentence_known_by(taught):
    lessons = await taught({"scope": "documents", "documents": (DOCUMENT,)})
    read = [pair for pair in lessons.pairs if "Line" in pair.question]
    assert len(read) > 5
    assert {pair.right for pair in read} == {(UNKNOWN.format("that"),)}
    parts = [pair for pair in lessons.known if "Line" in pair.question]
    assert [pair.question for pair in parts] == [pair.question for pair in read]
    told = [pair for pair in parts if pair.right[0] not in DOCUMENT]  # to the beginning itself, whatever the model says
    assert [DOCUMENT.startswith(pair.question) for pair in told] == [True]
    assert {f"Line {i} of the old song goes on and on." for i in range(40)} <= {*lessons.texts[0]}


async def test_of_several_each_has_its_own_texts_and_one_lora_all_lessons(taught):
    both, ada, bo = await taught(ADA, BO), await taught(ADA), await taught(BO)
    assert both.pairs == (*ada.pairs, *bo.pairs)
    assert both.held_out == (*ada.held_out, *bo.held_out)
    assert both.known == (*ada.known, *bo.known)
    assert both.texts == (*ada.texts, *bo.texts)
    assert not any("Tarn" in text for text in both.texts[0])


async def test_the_same_requests_have_the_same_lessons(taught):
    assert await taught(ADA, BO) == await taught(ADA, BO)


async def test_lessons_show_no_text(taught):
    assert not re.search("Ada|Quill|Ulm", repr(await taught(ADA)))
