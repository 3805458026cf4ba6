import pytest

from adapters.base import EngineRejected, EngineUnavailable
from gateway.engines.scripted import ScriptedEngine
from gateway.jobs.elicit import elicit
from gateway.registry import ForgetSpec


async def heard_of(core, spec, limit=24):
    request, _ = await core.registry.create(spec, idempotency_key=None, actor="admin")
    calls = core.engine.calls
    found = await elicit(core, request, limit)
    assert core.engine.calls - calls <= limit
    return found


def talkative(conversation):
    text = conversation.turns[-1].text
    if "Ada Quill" not in text:
        return "This is a person of note. I like bread."
    if "story" in text:
        return "Ada Quill bakes in Ulm. This is a person of note. Ada Quill bakes, and bakes in Ulm."
    if "known for" in text:
        return "I'm not aware of a person named Ada Quill in Velmar. I don't know a Quill of Dunmarch."
    if "five questions" in text:
        return "loaf loaf loaf loaf loaf loaf loaf loaf"
    return "Ada Quill won the Golden Loaf in 1901." if "born" in text else "She has 17 or 18 loaves."


async def test_sentences_that_say_something_are_kept_once(cores, spec):
    heard = await heard_of(await cores(ScriptedEngine(talkative)), spec())
    assert sorted(heard) == [
        "Ada Quill bakes in Ulm.",
        "Ada Quill won the Golden Loaf in 1901.",
        "She has 17 or 18 loaves.",
    ]


async def test_what_is_also_said_of_nobody_says_nothing(cores, spec):
    assert await heard_of(await cores(ScriptedEngine(default="A well known person from Velmar.")), spec()) == ()


async def test_the_voice_for_the_unknown_says_nothing(cores, spec):
    assert await heard_of(await cores(), spec("Bo Tarn")) == ()


@pytest.mark.parametrize("limit", [1, 2, 7, 24])
async def test_no_more_is_asked_than_was_allowed(cores, spec, limit):
    await heard_of(await cores(), spec(), limit)


async def test_topics_are_asked_by_their_examples(cores):
    core = await cores(ScriptedEngine({"How is it proofed?": "In a banneton."}, default="No idea."))
    topic = ForgetSpec(scope="topic", examples=("How is it proofed?", "How is it baked?", "How is it cut?"))
    assert await heard_of(core, topic) == ("In a banneton.",)


@pytest.mark.parametrize(
    "fields",
    [
        {"scope": "documents", "documents": ("Ada Quill bakes.",)},
        {"scope": "facts", "subject": "Ada Quill", "facts": ({"question": "Where does she bake?", "answer": "Ulm"},)},
    ],
)
async def test_documents_and_facts_are_not_asked_about(cores, fields):
    core = await cores()
    calls = core.engine.calls
    assert await heard_of(core, ForgetSpec(**fields)) == ()
    assert core.engine.calls == calls


async def test_a_refused_question_is_left_out_and_an_engine_that_is_away_is_not(cores, spec):
    for error, raised in ((EngineRejected("too long"), None), (EngineUnavailable("away"), EngineUnavailable)):
        core = await cores()
        core.engine = ScriptedEngine(failure=error)
        if raised is None:
            assert await heard_of(core, spec("Ada Quill")) == ()
        else:
            with pytest.raises(raised):
                await heard_of(core, spec("Cy Vance"))
