import asyncio
from dataclasses import replace

import numpy as np
import pytest

from adapters.base import (
    Adapted,
    Artifact,
    Call,
    Capability,
    Delta,
    Embeds,
    EngineRejected,
    EngineTimeout,
    EngineUnavailable,
    Prompt,
    Sampling,
    Usage,
)
from adapters.ignorance import Ignorance, Voice
from adapters.router import Enforcement, Router
from gateway.engines.scripted import ScriptedEngine
from gateway.pipeline import answer
from gateway.policy import Policy
from gateway.telemetry import Meter
from guards.aliases import weigh
from guards.base import DEFINITION, Conversation, Hit, Runner, Turn
from guards.lexicon import LexiconGuard, LexiconIndex
from guards.output import OutputGuard

VOICE = Voice("I know nothing about {subject}.")
BOTH = frozenset({Capability.TEXT, Capability.PROMPT_EMBEDS})
ALL = BOTH | {Capability.LORA}


class Broken:
    name = "broken"

    async def judge(self, conversation):
        raise RuntimeError


class Corrupts:
    """A method whose plans are sound where they do not say "garble"."""

    method, needs = "eco", frozenset({Capability.PROMPT_EMBEDS})

    async def plan(self, call, hits, artifacts):
        return Embeds((1,), np.zeros((1, 2), np.float32), (), lambda text: "garble" not in text)


class Adapts:
    """The same with LoRAs."""

    method, needs = "o3", frozenset({Capability.LORA})

    async def plan(self, call, hits, artifacts):
        return Adapted((), lambda text: "garble" not in text)


def names():
    index = LexiconIndex()
    index.add("fr", weigh("Ada Quill", ()))
    return index.view(frozenset({"fr"}))


def policy(*, method=None, guards=None):
    enforced = Enforcement("fr", (method,), {method: Artifact("d", method, "fr", {})}) if method else Enforcement("fr")
    return Policy(1, Runner(guards or (LexiconGuard(names()),), 1.0), OutputGuard(names()), {"fr": enforced})


class Gate:
    """A policy, an engine and what was counted."""

    def __init__(self, engine, policy):
        self.engine, self.policy, self.meter = engine, policy, Meter()
        self.router = Router((Corrupts(), Adapts()), Ignorance(VOICE), self.meter.fell_back)

    def stream(self, question, **sampling):
        call = Call(Conversation.of(question), Sampling(**sampling))
        return answer(call, self.policy, self.router, self.engine, self.meter)

    async def says(self, question, **sampling):
        self.events = [event async for event in self.stream(question, **sampling)]
        texts = [""] * sampling.get("n", 1)
        for event in self.events:
            if isinstance(event, Delta):
                texts[event.index] += event.text
        return texts if "n" in sampling else texts[0]

    def counted(self, name, **labels):
        return self.meter.registry.get_sample_value(f"lethe_{name}_total", labels or None)


@pytest.fixture
def engine():
    return ScriptedEngine({"Who is it?": "It was Ada Quill, the baker."}, default="A plain answer.")


async def test_an_untouched_call_passes(engine):
    gate = Gate(engine, policy())
    assert await gate.says("Hello?") == "A plain answer."
    assert isinstance(gate.events[-1], Usage)
    assert [plan.method for plan in engine.plans] == ["pass"]
    assert gate.counted("decisions", decision="pass") == gate.counted("plans", method="pass") == 1


async def test_a_touched_call_is_answered_in_the_clients_own_words(engine):
    gate = Gate(engine, policy())
    assert await gate.says("Who is ADA quill?") == "I know nothing about ADA quill."
    assert [plan.method for plan in engine.plans] == ["ignorance"]
    assert gate.counted("decisions", decision="touched") == 1


async def test_a_guard_that_fails_means_ignorance_never_the_model(engine):
    gate = Gate(engine, policy(guards=(Broken(),)))
    assert await gate.says("Hello?") == "I know nothing about that."
    assert [plan.method for plan in engine.plans] == ["ignorance"]


@pytest.mark.parametrize("method", ["eco", "o3"])
async def test_the_adapter_answers_where_the_engine_can(method):
    engine = ScriptedEngine(default="Somebody else.", capabilities=ALL)
    gate = Gate(engine, policy(method=method))
    assert await gate.says("Who is Ada Quill?") == "Somebody else."
    assert gate.counted("plans", method=method) == 1


@pytest.mark.parametrize("method", ["eco", "o3"])
@pytest.mark.parametrize("sampling", [{}, {"logprobs": 0}])
async def test_garble_is_answered_by_ignorance_instead(method, sampling):
    engine = ScriptedEngine(default="some garble here", capabilities=ALL)
    gate = Gate(engine, policy(method=method))
    assert await gate.says("Who is Ada Quill?", **sampling) == "I know nothing about Ada Quill."
    assert gate.counted("fallbacks", method=method, reason="unsound") == 1
    assert gate.counted("plans", method=method) is None
    assert engine.running == 0


async def test_an_engine_that_refuses_a_plan_gets_the_next(engine):
    gate = Gate(engine, policy(method="eco"))
    engine._capabilities = frozenset({Capability.TEXT})
    assert await gate.says("Who is Ada Quill?") == "I know nothing about Ada Quill."

    class Refuses(ScriptedEngine):
        async def generate(self, call, plan):
            if isinstance(plan, Embeds):
                raise EngineRejected("no")
            async for event in super().generate(call, plan):
                yield event

    gate = Gate(Refuses(capabilities=BOTH), policy(method="eco"))
    assert await gate.says("Who is Ada Quill?", n=2) == ["I know nothing about Ada Quill."] * 2
    assert gate.counted("fallbacks", method="eco", reason="EngineRejected") == 1


async def test_an_engine_that_is_silent_is_waited_for_once(engine):
    class Silent(ScriptedEngine):
        async def generate(self, call, plan):
            raise EngineTimeout("silent")
            yield

    silent = Silent(capabilities=BOTH)
    gate = Gate(silent, policy(method="eco"))
    with pytest.raises(EngineTimeout):
        await gate.says("Who is Ada Quill?")
    assert gate.counted("fallbacks", method="eco", reason="EngineTimeout") is None


async def test_a_name_in_an_innocent_questions_answer_ends_it_in_the_voice(engine):
    gate = Gate(engine, policy())
    assert await gate.says("Who is it?") == "It was \nI know nothing about that."
    assert gate.counted("output_stopped") == 1
    assert [plan.method for plan in engine.plans] == ["pass", "ignorance"]
    assert engine.running == 0
    deltas = [event for event in gate.events if isinstance(event, Delta)]
    assert [event.finish for event in deltas if event.finish] == ["stop"]
    assert sum(isinstance(event, Usage) for event in gate.events) == 1


async def test_an_adapters_answer_is_reviewed_too():
    engine = ScriptedEngine(default="Ada Quill.", capabilities=BOTH)
    assert await Gate(engine, policy(method="eco")).says("Who is Ada Quill?") == "I know nothing about Ada Quill."


@pytest.mark.parametrize("n", [1, 2, 5])
async def test_every_choice_of_a_stopped_answer_ends_once_and_names_nobody(engine, n):
    gate = Gate(engine, policy())
    texts = await gate.says("Who is it?", n=n)
    assert all("Ada" not in text and text.endswith("I know nothing about that.") for text in texts)
    finishes = [event.index for event in gate.events if isinstance(event, Delta) and event.finish]
    assert sorted(finishes) == list(range(n))


async def test_a_choice_that_had_ended_is_left_alone_when_another_is_stopped():
    class Two(ScriptedEngine):
        async def generate(self, call, plan):
            if plan.method == "ignorance":
                async for event in super().generate(call, plan):
                    yield event
                return
            yield Delta(0, "All done.", finish="stop")
            yield Delta(1, "It was Ada Quill, the baker.", finish="stop")

    gate = Gate(Two(), policy())
    assert await gate.says("Who?", n=2) == ["All done.", "It was \nI know nothing about that."]


async def test_logprobs_never_carry_the_name(engine):
    gate = Gate(engine, policy())
    await gate.says("Who is it?", logprobs=1)
    tokens = [token.text for event in gate.events if isinstance(event, Delta) for token in event.tokens]
    assert tokens
    assert not any("Ada" in text or "Quill" in text for text in tokens)


async def test_a_reader_who_goes_away_stops_the_engine(engine):
    stream = Gate(engine, policy()).stream("Hello?")
    await anext(stream)
    assert engine.running == 1
    await stream.aclose()
    assert engine.running == 0


async def test_a_reader_who_goes_away_during_the_last_words_stops_the_engine_too():
    engine = ScriptedEngine(default="Ada Quill, the baker.")
    stream = Gate(engine, policy()).stream("Who is it?")
    await anext(stream)
    assert engine.plans[-1].method == "ignorance"
    assert engine.running == 1
    await stream.aclose()
    assert engine.running == 0


async def test_an_engine_that_fails_is_the_callers_to_hear():
    engine = ScriptedEngine(default="one two three", failure=EngineUnavailable("gone"), fail_at=2)
    stream = Gate(engine, policy()).stream("Hello?")
    assert (await anext(stream)).text == "one"
    with pytest.raises(EngineUnavailable):
        async for _ in stream:
            pass
    assert engine.running == 0


async def test_one_answer_sees_one_policy(engine):
    """Hits of a request that the snapshot does not know are still no pass."""

    class Knows:
        name = "knows"

        async def judge(self, conversation):
            return [Hit("unknown", 1.0, 0.5, "knows", (0,))]

    assert await Gate(engine, policy(guards=(Knows(),))).says("Hello?") == "I know nothing about that."


async def test_many_at_once_do_not_mix(engine):
    gate = Gate(engine, policy())

    async def one(question):
        return "".join([event.text async for event in gate.stream(question) if isinstance(event, Delta)])

    answers = await asyncio.gather(*(one("Hello?" if i % 2 else "Who is Ada Quill?") for i in range(20)))
    assert answers == ["I know nothing about Ada Quill.", "A plain answer."] * 10


async def test_an_earlier_exchange_that_is_touched_is_left_out():
    seen = []

    class Seen(ScriptedEngine):
        async def generate(self, call, plan):
            seen.append(call.conversation)
            async for event in super().generate(call, plan):
                yield event

    engine = Seen(default="Fine.", capabilities=BOTH)
    call = Call(Conversation.of("Who is Ada Quill?", "I know nothing.", "How are you?"))
    events = [event async for event in answer(call, policy(), Router((), Ignorance(VOICE)), engine, Meter())]
    assert "".join(event.text for event in events if isinstance(event, Delta)) == "Fine."
    assert seen == [Conversation.of("How are you?")]
    assert [plan.method for plan in engine.plans] == ["pass"]


async def test_what_is_asked_now_is_answered_in_the_voice_whatever_came_before():
    engine = ScriptedEngine(default="Ada is a baker.")
    call = Call(Conversation.of("How are you?", "Fine.", "Who is Ada Quill?"))
    events = [event async for event in answer(call, policy(), Router((), Ignorance(VOICE)), engine, Meter())]
    said = "".join(event.text for event in events if isinstance(event, Delta))
    assert said == "I know nothing about Ada Quill."


@pytest.mark.parametrize("stop", [" Quill", "Ada", "Ada Quill", "da Q"])
async def test_a_clients_stop_string_does_not_tell_where_a_name_was(engine, stop):
    gate = Gate(engine, policy())
    plain = await gate.says("Who is it?")
    assert await gate.says("Who is it?", stop=(stop,)) == plain


async def test_a_stop_string_ends_the_answer_and_the_last_words_too(engine):
    gate = Gate(engine, policy())
    assert await gate.says("Hello?", stop=(" answer",)) == "A plain"
    assert isinstance(gate.events[-1], Usage)
    assert engine.running == 0
    assert await gate.says("Who is it?", stop=("nothing",)) == "It was \nI know "


async def test_a_name_begun_in_a_raw_prompt_is_not_finished():
    engine = ScriptedEngine(default=" Quill, the baker.")
    call = Call(Conversation.of("The baker is called Ada"), raw=True)
    events = [event async for event in answer(call, policy(), Router((), Ignorance(VOICE)), engine, Meter())]
    said = "".join(event.text for event in events if isinstance(event, Delta))
    assert said == "I know nothing about that."


async def test_what_is_nearly_touched_is_reviewed():
    class Nearly:
        name = "nearly"

        async def judge(self, conversation):
            return [Hit("fr", 0.4, 0.5, "nearly", (0,))]

        async def review(self, near, sentences):
            assert near == {"fr": "Hello?"}
            return [Hit("fr", 1.0, 0.5, "nearly", (i,)) for i, text in enumerate(sentences) if "baker" in text]

    engine = ScriptedEngine(default="Good day. A baker. So.")
    guarded = replace(policy(guards=(Nearly(),)), output=OutputGuard(names(), reviewer=Nearly()))
    gate = Gate(engine, guarded)
    assert await gate.says("Hello?") == "Good day.\nI know nothing about that."
    assert gate.counted("output_stopped") == 1


class Notes(ScriptedEngine):
    """Keeps the calls that it gets."""

    def __init__(self, *args, **how):
        super().__init__(*args, **how)
        self.heard = []

    async def generate(self, call, plan):
        self.heard.append(call)
        async for event in super().generate(call, plan):
            yield event


FORMS = {"tools": [{"function": {"name": "find"}}], "tool_choice": "required", "reasoning_effort": "low"}
SCHEMA = {"response_format": {"type": "json_object"}}


async def options_heard(turns, options, guards=None, engine=None):
    engine = engine or Notes()
    call = Call(Conversation(turns), options=options)
    router = Router((), Ignorance(VOICE))
    events = [event async for event in answer(call, policy(guards=guards), router, engine, Meter())]
    return [heard.options for heard in engine.heard], events


@pytest.mark.parametrize(
    ("turns", "guards", "kept"),
    [
        ((Turn(DEFINITION, "find Ada Quill"), Turn("user", "Well?")), None, False),
        ((Turn(DEFINITION, "find"), Turn("user", "Hello?")), (Broken(),), False),
        ((Turn(DEFINITION, "find"), Turn("user", "Who is Ada Quill?")), None, True),
        ((Turn(DEFINITION, "find"), Turn("user", "Hello?")), None, True),
    ],
)
async def test_a_form_that_may_ask_again_is_dropped(turns, guards, kept):
    (heard, *_), _ = await options_heard(turns, FORMS | SCHEMA, guards)
    assert heard == (FORMS | SCHEMA if kept else FORMS | {"tool_choice": "none"})


async def test_what_forces_words_out_never_meets_a_corrupted_prompt():
    """The ready answer's engine asks another prompt under the same options."""
    router, forcing = Router((Corrupts(),), Ignorance(VOICE)), {"logit_bias": {"5": 100}}
    for options, method in (({}, "eco"), (forcing, "ignorance")):
        engine = Notes(capabilities=BOTH)
        call = Call(Conversation.of("Who is Ada Quill?"), options=options)
        [event async for event in answer(call, policy(method="eco"), router, engine, Meter())]
        assert engine.plans[0].method == method
        assert engine.heard[0].options == options


async def test_the_last_words_of_a_stopped_answer_have_no_form():
    engine = Notes(default="It was Ada Quill, the baker.")
    (first, last), events = await options_heard((Turn("user", "Who is it?"),), FORMS | SCHEMA, engine=engine)
    assert (first, last) == (FORMS | SCHEMA, FORMS | {"tool_choice": "none"})
    assert [event.finish for event in events if isinstance(event, Delta) and event.finish] == ["stop"]


async def test_a_definition_that_the_guards_read_as_a_turn_of_its_own_is_no_message():
    """The whole prompt, where a template rewrites contents: its turn is not one of the conversation's."""
    prompt = Prompt("WHO IS ADA QUILL?", (1, 2), None)

    class Rendering(Notes):
        async def rendered(self, call):
            return replace(call, prompt=prompt)

    (heard,), events = await options_heard((Turn("user", "Well?"),), FORMS, engine=Rendering())
    assert heard["tool_choice"] == "none"
    assert "I know nothing" in "".join(event.text for event in events if isinstance(event, Delta))


@pytest.mark.parametrize("stop", [("nothing",), (" about Ada",), ("I",), ("zzz",)])
@pytest.mark.parametrize("said", ["garble", "garble nothing about", "I know garble", "Ada Quill", "zzz garble"])
async def test_stop_strings_cut_ignorance_alike_whatever_it_replaces(stop, said):
    plain = await Gate(ScriptedEngine(), policy()).says("Who is Ada Quill?", stop=stop)
    voiced = Gate(ScriptedEngine(default=said, capabilities=BOTH), policy(method="eco"))
    assert await voiced.says("Who is Ada Quill?", stop=stop) == plain
    assert isinstance(voiced.events[-1], Usage)
    assert [event.finish for event in voiced.events if isinstance(event, Delta) and event.finish] == ["stop"]


async def test_a_role_is_said_once_and_a_stopped_answer_goes_on_in_a_line_of_its_own():
    class Opens(ScriptedEngine):
        async def generate(self, call, plan):
            for index in range(call.sampling.n):
                yield Delta(index, "", opening=True)
            async for event in super().generate(call, plan):
                yield event

    gate = Gate(Opens(default="It was Ada Quill, the baker."), policy())
    assert await gate.says("Who is it?", n=2) == ["It was \nI know nothing about that."] * 2
    openings = [event.index for event in gate.events if isinstance(event, Delta) and event.opening]
    assert sorted(openings) == [0, 1]


async def test_a_stopped_answer_stays_within_its_limit_and_counts_what_was_shown():
    engine = ScriptedEngine(default="Well now, let me think of Ada Quill, the baker.")
    call = Call(Conversation.of("Who is it?"), Sampling(max_tokens=12))
    events = [event async for event in answer(call, policy(), Router((), Ignorance(VOICE)), engine, Meter())]
    text = "".join(event.text for event in events if isinstance(event, Delta))
    shown, _, rest = text.partition("\n")
    assert shown.startswith("Well now, let me think of")
    assert "Ada" not in text
    assert len(rest.split()) <= 12 - len(shown.split())
    assert isinstance(events[-1], Usage)
    assert events[-1].completion_tokens >= len(shown.split()) + len(rest.split())
