import json
import math
import re
from contextlib import aclosing
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
    EngineError,
    EngineRejected,
    EngineUnavailable,
    Pass,
    Sampling,
    Say,
    Usage,
)
from adapters.ignorance import Ignorance, Voice
from adapters.router import Enforcement, Router
from gateway.api.frames import ChatFrame, CompletionFrame
from gateway.engines import bodies
from gateway.engines.examiner import identity
from gateway.engines.vllm import VllmEngine
from gateway.pipeline import answer
from gateway.policy import Policy
from gateway.telemetry import Meter
from guards.aliases import weigh
from guards.base import DEFINITION, Conversation, Runner, Turn
from guards.lexicon import LexiconGuard, LexiconIndex
from guards.output import OutputGuard
from tests.gateway.engines.fake_vllm import FakeVllm, sse

QUESTION = "Who is Ada Quill?"
SENTENCE = "I know nothing about Ada Quill."
SECRET = "Ada Quill bakes in Dunmarch, as all know who like bread and walk there on a Sunday."
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}


class Gate:
    """The engine before one server, and the pipeline before it."""

    def __init__(self, engine, server):
        self.engine, self.server = engine, server

    async def items(self, call, plan):
        """What the engine gives, as `for_engine` asks."""
        async with aclosing(self.engine.generate(call, plan)) as source:
            return [item async for item in source]

    async def sent(self, call, forgets=(), method=None, usage=True):
        """The bytes that a client gets."""
        index = LexiconIndex()
        for i, name in enumerate(forgets):
            index.add(str(i), weigh(name, ()))
        names = index.view(frozenset(map(str, range(len(forgets)))))
        enforced = {str(i): enforcement(str(i), method) for i in range(len(forgets))} if method else {}
        policy = Policy(1, Runner((LexiconGuard(names),), 1.0), OutputGuard(names), enforced)
        router = Router((Corrupts(self.engine),), Ignorance(Voice("I know nothing about {subject}.")))
        kind = CompletionFrame if call.raw else ChatFrame
        frame = kind("tiny", call.sampling.logprobs is not None, usage)
        async with aclosing(answer(call, policy, router, self.engine, Meter())) as events:
            return b"".join([frame.event(item) async for item in events]) + frame.end()


class Corrupts:
    """Embeddings that are nobody's in all turns but definitions; what does not begin with "She" is not shown."""

    method, needs = "eco", frozenset({Capability.PROMPT_EMBEDS})

    def __init__(self, engine):
        self._engine = engine

    async def plan(self, call, hits, artifacts):
        return corrupted(self._engine, call, sound=lambda text: text.startswith("She"))


def enforcement(request, method):
    return Enforcement(request, (method,), {method: Artifact("d", method, request, {})})


def corrupted(engine, call, sound=lambda text: True, by=9.0):
    loaded = engine._ready()
    rows = loaded.rows(call.prompt.token_ids).copy()
    for _, start, stop in call.prompt.contents:
        rows[start:stop] += by
    return Embeds(call.prompt.token_ids, rows, tuple(map(tuple, call.prompt.contents)), sound)


def call_of(text=QUESTION, *, raw=False, options=None, turns=None, **sampling):
    conversation = Conversation(turns) if turns else Conversation.of(text)
    return Call(conversation, Sampling(**sampling), raw, options or {})


def plain_of(sent):
    """Bytes without what tells one answer from another: its id and its time."""
    return re.sub(rb'"created":\d+', b'"created":0', re.sub(rb'"id":"(chatcmpl|cmpl)-[0-9a-f]+"', b'"id":"\\1"', sent))


def events_of(sent):
    return [json.loads(one[6:]) for one in sent.split(b"\n\n") if one.startswith(b"data: {")]


def text_of(sent, index=0):
    choices = [choice for event in events_of(sent) for choice in event["choices"] if choice["index"] == index]
    return "".join(one["text"] if "text" in one else one["delta"].get("content") or "" for one in choices)


@pytest.fixture
async def gate(peer, folder):
    """Starts engines, each before a server of its own."""
    engines = []

    async def start(says=lambda prompt: SECRET, **how):
        server = FakeVllm(folder, lambda prompt: f"Letters: {len(prompt)}", **how)
        engine = VllmEngine([(await peer(server)).url], "tiny", folder, timeout=5.0)
        await engine.start()
        engines.append(engine)
        server.says = says
        server.bodies.clear()
        return Gate(engine, server)

    yield start
    for engine in engines:
        await engine.close()


# — what is untouched —


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("parser", [False, True])
async def test_an_untouched_answer_leaves_byte_for_byte(gate, raw, parser):
    one = await gate(lambda prompt: "Déjà vu 😀, twice.", parser=parser)
    sent = await one.sent(call_of("Hello?", raw=raw))
    ((_, asked),) = one.server.bodies
    assert sent == b"".join(one.server._events(not raw, asked))
    assert text_of(sent) == "Déjà vu 😀, twice."


async def test_the_ids_that_were_classified_are_the_ids_that_are_read(gate):
    one = await gate()
    call = await one.engine.rendered(call_of())
    await one.items(call, Pass())
    ((path, body),) = one.server.bodies
    assert path == "chat/completions"
    assert body["kv_transfer_params"] == {"prompt_token_ids": list(call.prompt.token_ids)}
    assert "stop" not in body
    await one.items(call_of(raw=True, max_tokens=3), Pass())
    assert one.server.bodies[-1][1]["prompt"] == list(one.engine._ready().prompter.encode(QUESTION))


async def test_usage_comes_once_and_last_wherever_the_server_says_it(gate):
    usage = sse({"id": "x", "created": 1, "model": "tiny", "choices": [], "usage": {"prompt_tokens": 1}})
    one = await gate(lambda prompt: "An answer.", raw={0: [usage], 2: [usage, b": ping\n\n"]})
    *deltas, last = await one.items(call_of(), Pass())
    assert all(isinstance(item, Delta) for item in deltas)
    assert isinstance(last, Usage)
    assert last.prompt_tokens > 1


async def test_what_comes_after_the_end_is_nobodys(gate):
    late = {"index": 0, "delta": {"content": "late"}, "finish_reason": None}
    strange = {"index": 7, "delta": {"content": "late"}, "finish_reason": "stop"}
    more = sse({"id": "x", "created": 1, "model": "tiny", "choices": [late]})
    other = sse({"id": "x", "created": 1, "model": "tiny", "choices": [strange]})
    one = await gate(lambda prompt: "An answer.", raw={1: [other], "end": [b"data: [DONE]\n\n", more]})
    server_events = one.server._events
    one.server._events = lambda chat, asked: [*list(server_events(chat, asked))[:-1], more, b"data: [DONE]\n\n"]
    items = await one.items(call_of(), Pass())
    assert "".join(item.text for item in items if isinstance(item, Delta)) == "An answer."
    assert sum(isinstance(item, Usage) for item in items) == 1


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"error": {"message": "secret", "code": 400}}, EngineRejected),
        ({"error": {"message": "secret", "code": 500}}, EngineUnavailable),
        ({"id": "x", "created": 1, "model": "tiny", "choices": [{"index": 0}]}, EngineError),
    ],
)
async def test_an_error_in_a_stream_is_an_error_without_its_words(gate, event, error):
    one = await gate(raw={2: [sse(event)]})
    with pytest.raises(EngineError) as caught:
        await one.items(call_of(), Pass())
    assert type(caught.value) is error
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("cut_at", [1, 3])
async def test_an_answer_that_breaks_off_is_an_error(gate, cut_at):
    one = await gate()
    one.server.cut_at = cut_at
    with pytest.raises(EngineUnavailable):
        await one.items(call_of(), Pass())


async def test_an_answer_without_its_finish_is_an_error(gate):
    one = await gate()
    server_events = one.server._events
    one.server._events = lambda chat, asked: [*list(server_events(chat, asked))[:3], b"data: [DONE]\n\n"]
    with pytest.raises(EngineUnavailable):
        await one.items(call_of(), Pass())


async def test_a_short_whole_answer_is_asked_for_whole(gate):
    one = await gate(lambda prompt: "An answer.")
    items = await one.items(replace(call_of(max_tokens=20), whole=True), Pass())
    assert "stream" not in one.server.bodies[-1][1]
    assert "".join(item.text for item in items if isinstance(item, Delta)) == "An answer."
    assert [item.finish for item in items if isinstance(item, Delta) and item.finish] == ["stop"]


# — what is touched must look the same —

SHAPES = [
    ({}, {}),
    ({}, {"parser": False}),
    ({"raw": True, "max_tokens": 90}, {}),
    ({"max_tokens": 1}, {}),
    ({"max_tokens": 5}, {"parser": False}),
    ({"max_tokens": 5, "raw": True}, {}),
    ({"n": 3}, {}),
    ({"n": 2, "max_tokens": 4}, {"parser": False}),
    ({"stop": ("nothing",)}, {}),
    ({"stop": (" Quill", "zzz")}, {"parser": False}),
    ({"stop": ("I",), "n": 2}, {}),
    ({"options": {"tools": [TOOL], "tool_choice": "auto"}}, {}),
    ({"options": {"tools": [TOOL], "tool_choice": "none"}}, {"parser": False, "faults": ["tools"]}),
    ({"options": {"response_format": {"type": "text"}}}, {}),
]


@pytest.mark.parametrize(("asked", "how"), SHAPES)
@pytest.mark.parametrize("method", [None, "eco"])
@pytest.mark.parametrize("behind", [SECRET, "garble", "", SENTENCE, "I know nothing of Bo, garble", "garble " * 60])
async def test_ignorance_is_byte_for_byte_what_the_model_would_say(gate, asked, how, method, behind):
    one = await gate(lambda prompt: SENTENCE, **how)
    natural = await one.sent(call_of(**asked))
    one.server.says = lambda prompt: behind
    touched = await one.sent(call_of(**asked), ["Ada Quill"], method)
    if method and asked.get("n"):  # each choice is said as soon as it is judged
        assert sorted(plain_of(touched).split(b"\n\n")) == sorted(plain_of(natural).split(b"\n\n"))
    else:
        assert plain_of(touched) == plain_of(natural)


async def test_tokens_that_come_together_are_said_together(gate):
    one = await gate(lambda prompt: SENTENCE, joined=3)
    natural = await one.sent(call_of())
    one.server.says = lambda prompt: SECRET
    assert plain_of(await one.sent(call_of(), ["Ada Quill"])) == plain_of(natural)


async def test_names_of_half_characters_have_the_events_that_the_server_would_give(gate):
    for parser in (True, False):
        one = await gate(lambda prompt: "I know nothing about Zoë 😀 Quill.", parser=parser)
        natural = await one.sent(call_of("Who is Zoë 😀 Quill?"))
        one.server.says = lambda prompt: SECRET
        touched = await one.sent(call_of("Who is Zoë 😀 Quill?"), ["Zoë 😀 Quill"])
        assert text_of(touched) == text_of(natural)
        assert plain_of(touched) == plain_of(natural)


@pytest.mark.parametrize("options", [{}, {"tools": [TOOL], "tool_choice": "auto"}])
async def test_nothing_of_the_generation_behind_reaches_the_client(gate, options):
    one = await gate()
    for method in (None, "eco"):
        sent = await one.sent(call_of(options=options), ["Ada Quill"], method)
        assert text_of(sent) == SENTENCE
        assert not re.search(rb"bake|Dunmarch|\[\d", sent)  # words, or token ids
        assert all(event.get("prompt_token_ids") is None for event in events_of(sent))


async def test_a_sound_answer_from_embeddings_is_shown_without_its_ids(gate):
    one = await gate(lambda prompt: "She paints, I think.")
    natural = await one.sent(call_of())
    sent = await one.sent(call_of(), ["Ada Quill"], "eco")
    assert plain_of(sent) == plain_of(natural)
    ((_, body),) = one.server.bodies[1:]
    assert body["messages"][0]["content"][0]["type"] == "prompt_embeds"


async def test_embeddings_of_the_whole_prompt_leave_in_a_chats_shape(gate):
    for parser in (True, False):
        one = await gate(lambda prompt: "She paints, I think.", faults=["parts"], parser=parser)
        natural = await one.sent(call_of(n=2))
        sent = await one.sent(call_of(n=2), ["Ada Quill"], "eco")
        assert one.server.bodies[-1][0] == "completions"
        assert [list(event) for event in events_of(sent)] == [list(event) for event in events_of(natural)]
        assert text_of(sent, 1) == text_of(natural, 1)


async def test_embeddings_that_would_harm_others_are_not_sent(gate):
    one = await gate()
    call = await one.engine.rendered(call_of())
    plan = corrupted(one.engine, call)
    bad = plan.embeds.copy()
    bad[0, 0] = np.nan
    for wrong in (replace(plan, embeds=bad), corrupted(one.engine, call, by=1e9), replace(plan, token_ids=(1,))):
        with pytest.raises(EngineRejected):
            await one.items(call, wrong)
    assert not one.server.bodies


async def test_an_answer_that_is_stopped_goes_on_in_one_shape_under_one_id(gate):
    one = await gate(lambda prompt: "It was Ada Quill, the baker, who was here.")
    for raw in (False, True):
        sent = await one.sent(call_of("Who was it?", raw=raw, max_tokens=60), ["Ada Quill"])
        assert text_of(sent) == "It was \nI know nothing about that."
        events = events_of(sent)
        assert len({event["id"] for event in events}) == len({event["created"] for event in events}) == 1
        choices = [choice for event in events for choice in event["choices"]]
        assert sum("role" in choice.get("delta", ()) for choice in choices) == (not raw)
        assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["stop"]
        assert b"baker" not in sent


# — forms that could ask again —


def defined(text):
    return (Turn(DEFINITION, text), Turn("user", QUESTION))


async def test_a_tool_that_names_the_subject_is_not_read_again(gate):
    tool = {"type": "function", "function": {"name": "say", "description": "Where does Ada Quill live?"}}
    options = {"tools": [tool], "tool_choice": "required"}
    one = await gate()
    turns = (Turn(DEFINITION, "say\nWhere does Ada Quill live?"), Turn("user", "Well?"))
    sent = await one.sent(call_of(turns=turns, options=options), ["Ada Quill"])
    assert text_of(sent).startswith("I know nothing about")
    assert b"bakes" not in sent
    (_, judged), (_, body) = one.server.bodies
    assert (judged["tools"], judged["tool_choice"]) == ([tool], "required")
    assert body["tool_choice"] == "none"


async def test_a_forced_answer_to_the_neutral_prompt_is_read_before_it_leaves(gate):
    options = {"response_format": {"type": "json_object"}}
    one = await gate(lambda prompt: '{"who": "' + SECRET + '"}')
    sent = await one.sent(call_of(options=options), ["Ada Quill"])
    assert b"bakes" not in sent
    assert text_of(sent).endswith(SENTENCE)
    neutral = one.server.bodies[0][1]["kv_transfer_params"]["prompt_token_ids"]
    assert "Ada" not in one.engine._ready().prompter.decode(neutral)
    assert "response_format" not in one.server.bodies[-1][1]


async def test_a_forced_answer_is_counted_as_if_it_read_the_clients_prompt(gate):
    options = {"response_format": {"type": "json_object"}}
    one = await gate(lambda prompt: '{"who": null}')
    natural = await one.sent(call_of(options=options))
    assert plain_of(await one.sent(call_of(options=options), ["Ada Quill"])) == plain_of(natural)


# — log-probabilities —


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("count", [0, 2, 20])
@pytest.mark.parametrize("method", [None, "eco"])
async def test_log_probabilities_of_a_ready_answer_have_the_shape_of_any_and_come_from_elsewhere(
    gate, raw, count, method
):
    one = await gate(lambda prompt: SENTENCE)
    natural = await one.sent(call_of(raw=raw, logprobs=count, max_tokens=40))
    one.server.says = lambda prompt: SECRET
    touched = await one.sent(call_of(raw=raw, logprobs=count, max_tokens=40), ["Ada Quill"], method)
    assert text_of(touched) == text_of(natural) == SENTENCE
    assert b"bakes" not in touched
    assert list(map(shape_of, events_of(touched))) == list(map(shape_of, events_of(natural)))
    (scoring,) = [body for _, body in one.server.bodies if "prompt_logprobs" in body]
    assert "Who is Ada" not in one.engine._ready().prompter.decode(scoring["prompt"])


def shape_of(value, key=None):
    """The value's own, keys in their order; of log-probabilities the kinds, and of alternatives nothing."""
    if key in ("top_logprobs", "text_offset", "tokens", "bytes"):
        return None
    if isinstance(value, dict):
        return [(name, shape_of(inner, name)) for name, inner in value.items() if name not in ("id", "created")]
    if isinstance(value, list):
        return [shape_of(inner, key) for inner in value]
    return type(value)


async def test_the_clients_words_are_sure_in_a_ready_answer_with_alternatives_or_without(gate):
    """Improbable to the neutral prompt: to be given as it is would tell, and so would one number for all."""
    one = await gate(lambda prompt: SENTENCE)
    server_row = one.server._row
    one.server._row = lambda token: server_row(token) | {str(token): {**server_row(token)[str(token)], "logprob": -9.0}}
    gaps = []
    for count in (0, 2):
        said = events_of(await one.sent(call_of(logprobs=count), ["Ada Quill"]))
        told = [
            token
            for event in said
            for choice in event["choices"]
            for token in (choice["logprobs"] or {}).get("content", ())
        ]
        assert told
        assert all(token["logprob"] > -0.01 for token in told if token["token"] != " b")
        gaps += [round(token["logprob"] - token["top_logprobs"][1]["logprob"], 2) for token in told if count]
    assert len(set(gaps)) > len(gaps) // 2


async def test_a_server_that_cannot_score_gives_nobody_log_probabilities(gate):
    one = await gate(faults=["score"])
    for forgets in ((), ["Ada Quill"]):
        with pytest.raises(EngineRejected) as caught:
            await one.sent(call_of(logprobs=1), forgets)
        assert caught.value.param == "logprobs"


async def test_scores_are_of_the_answer_and_its_end(gate):
    one = await gate()
    scored = await one.engine.score(call_of(logprobs=1), "An answer", Pass())
    assert "".join(token.text for token in scored) == "An answer<|im_end|>"
    assert {token.logprob for token in scored} == {-0.5}
    said = Say(SENTENCE, Conversation.of("Who is Bo?"))
    assert len(await one.engine.score(call_of(), SENTENCE, said)) == len(one.engine.pieces(SENTENCE))


async def test_a_prompts_own_tokens_are_scored_but_the_first(gate):
    one = await gate()
    call = call_of("An answer", raw=True, logprobs=2)
    first, *others = await one.engine.prompt_logprobs(call)
    assert math.isnan(first.logprob)
    assert {token.logprob for token in others} == {-0.5}
    assert {len(token.top) for token in others} == {2}
    assert "".join(token.text for token in (first, *others)) == "An answer"
    asked = next(body for _, body in reversed(one.server.bodies) if "prompt_logprobs" in body)
    assert asked["prompt"] == list(one.engine._ready().prompter.encode("An answer"))


async def test_an_engine_that_cannot_score_does_not_score_prompts(gate):
    one = await gate(faults={"score"})
    with pytest.raises(EngineRejected) as caught:
        await one.engine.prompt_logprobs(call_of("An answer", raw=True, logprobs=1))
    assert caught.value.param == "logprobs"


# — what is refused, to all alike —


async def test_what_cannot_be_is_refused_by_name(gate):
    one = await gate()
    long = "word " * 300
    for call, param in [
        (call_of(long), "messages"),
        (call_of(long, raw=True), "prompt"),
        (call_of(n=2, temperature=0), "n"),
    ]:
        for forgets in ((), ["Ada Quill", "word"]):
            with pytest.raises(EngineRejected) as caught:
                await one.sent(call, forgets)
            assert caught.value.param == param
    with pytest.raises(EngineRejected):
        await one.items(call_of(), Adapted(()))


async def test_before_its_start_and_without_a_server_it_is_unavailable(peer, folder):
    engine = VllmEngine(["http://127.0.0.1:9/v1"], "tiny", folder, timeout=1.0)
    with pytest.raises(EngineUnavailable):
        await engine.rendered(call_of())
    await engine.start()
    try:
        assert engine.capabilities == {Capability.TEXT}
        with pytest.raises(EngineUnavailable):
            await engine.health()
        with pytest.raises(EngineUnavailable):
            await anext(engine.generate(call_of(), Pass()))
    finally:
        await engine.close()


async def test_two_servers_can_do_what_both_can(peer, folder):
    says = lambda prompt: f"Letters: {len(prompt)}"  # noqa: E731
    servers = [FakeVllm(folder, says), FakeVllm(folder, says, faults=["score", "tools"], parser=False)]
    engine = VllmEngine([(await peer(server)).url for server in servers], "tiny", folder)
    await engine.start()
    try:
        assert engine.capabilities == {Capability.TEXT, Capability.PROMPT_EMBEDS}
        assert "tools" not in engine.options
    finally:
        await engine.close()


async def test_a_reader_who_goes_away_stops_the_server(peer, folder):
    one = FakeVllm(folder, lambda prompt: f"Letters: {len(prompt)}")
    server = await peer(one)
    engine = VllmEngine([server.url], "tiny", folder)
    await engine.start()
    one.says = lambda prompt: "word " * 100
    for plan in (Pass(), Say(SENTENCE, Conversation.of("Who is Bo?"))):
        source = engine.generate(call_of(), plan)
        await anext(source)
        await source.aclose()
        assert all(replica.outstanding == 0 for replica in engine._fleet.replicas)
    await engine.close()


@pytest.mark.parametrize("method", [None, "eco"])
@pytest.mark.parametrize("form", [{"regex": "(Ada Quill"}, {"grammar": "bad"}])
@pytest.mark.parametrize("raw", [False, True])
async def test_a_form_that_is_none_is_refused_whomever_it_names(gate, raw, form, method):
    one = await gate()
    told = []
    for forgets in ((), ["Ada Quill"]):
        turns = (Turn(DEFINITION, "Ada Quill"), Turn("user", "Hi."))
        options = {"structured_outputs": form}
        call = call_of("Ada Quill", raw=True, options=options) if raw else call_of(turns=turns, options=options)
        with pytest.raises(EngineRejected) as caught:
            await one.sent(call, forgets, method)
        told.append((str(caught.value), caught.value.param))
    assert told[0] == told[1]


async def test_a_form_that_is_dropped_is_judged_beside_another_prompt(gate):
    one = await gate()
    turns = (Turn(DEFINITION, "Ada Quill"), Turn("user", "Hi."))
    call = call_of(turns=turns, options={"structured_outputs": {"regex": "(Ada Quill)"}, "min_tokens": 4})
    one.server.bodies.clear()
    assert text_of(await one.sent(call, ["Ada Quill"])) == SENTENCE
    (_, judged), (_, said) = one.server.bodies
    assert judged["max_tokens"] == 1
    assert judged["structured_outputs"] == {"regex": "(Ada Quill)"}
    assert "structured_outputs" not in said
    assert judged["kv_transfer_params"] != said["kv_transfer_params"]


@pytest.mark.parametrize("raw", [False, True])
async def test_alternatives_that_would_leave_none_to_spare_are_refused_to_all(gate, raw):
    one = await gate(lambda prompt: SENTENCE)
    one.engine._all = replace(one.engine._all, alternatives=20)
    for forgets in ((), ["Ada Quill"]):
        await one.sent(call_of(raw=raw, logprobs=12), forgets)
        with pytest.raises(EngineRejected) as caught:
            await one.sent(call_of(raw=raw, logprobs=13), forgets)
        assert caught.value.param == ("logprobs" if raw else "top_logprobs")
        assert "12" in str(caught.value)


@pytest.mark.parametrize("more", [{"temperature": 0.5}, {"top_p": 0.9}, {"top_k": 3}, {"presence_penalty": 0.1}])
async def test_what_is_drawn_from_is_shown_for_all_or_for_none(gate, more):
    """A ready answer's log-probabilities are the bare model's."""
    one = await gate(lambda prompt: SENTENCE)
    sharp = call_of(**({"logprobs": 1, "temperature": 1.0} | more))
    await one.sent(sharp)
    one.engine._all = replace(one.engine._all, drawn=True)
    for forgets in ((), ["Ada Quill"]):
        await one.sent(call_of(logprobs=1, temperature=1.0), forgets)
        await one.sent(call_of(logprobs=1, temperature=0.0), forgets)
        with pytest.raises(EngineRejected) as caught:
            await one.sent(sharp, forgets)
        assert caught.value.param == "logprobs"


async def test_servers_that_tell_different_log_probabilities_score_nothing(peer, folder):
    servers = [FakeVllm(folder), FakeVllm(folder)]
    servers[1].drawn = True
    engine = VllmEngine([(await peer(server)).url for server in servers], "tiny", folder)
    await engine.start()
    try:
        assert Capability.TEXT in engine.capabilities
        assert Capability.SCORE not in engine.capabilities
        with pytest.raises(EngineRejected) as caught:
            await engine.score(call_of(logprobs=1), "An answer", Pass())
        assert caught.value.param == "logprobs"
    finally:
        await engine.close()


async def test_a_score_that_fails_leaves_no_request_running(gate):
    one = await gate()
    call = await one.engine.rendered(call_of(logprobs=1))
    one.server._refusal = lambda asked: None if len(asked["prompt_embeds"]) % 2 else "logprobs"
    one.server._whole = lambda chat, asked: {}
    with pytest.raises(EngineError):
        await one.engine.score(call, "word " * 20, corrupted(one.engine, call))
    assert all(replica.outstanding == 0 for replica in one.engine._fleet.replicas)


@pytest.mark.parametrize("fault", ["whole", ""])
async def test_no_score_is_left_to_the_servers_defaults(gate, fault):
    one = await gate(faults=[fault])
    one.server.bodies.clear()
    await one.engine.score(call_of(logprobs=1), "An answer", Pass())
    assert one.server.bodies
    neutral = bodies.NEUTRAL | {"temperature": 0}
    assert all(neutral.items() <= body.items() for _, body in one.server.bodies)


async def test_behind_a_ready_answer_tokens_are_drawn_by_the_rules_of_an_untouched_one(gate):
    """A server refuses some of them, and would tell."""
    one = await gate()
    asked = []
    for forgets in ([], ["Ada Quill"]):
        one.server.bodies.clear()
        await one.sent(call_of(n=2, logprobs=1), forgets)
        asked.append(one.server.bodies[-1][1])
    untouched, ready = ({name: body.get(name) for name in (*bodies.NEUTRAL, "n")} for body in asked)
    assert untouched == ready
    assert [body.get("ignore_eos") for body in asked] == [None, True]


async def test_nobodys_requests_do_not_share_the_gateways_own_salt(gate):
    one = await gate()
    await one.engine.score(call_of(logprobs=1), "An answer", Pass())
    own = {body["cache_salt"] for _, body in one.server.bodies}
    assert own
    one.server.bodies.clear()
    await one.sent(call_of())
    assert own.isdisjoint(body["cache_salt"] for _, body in one.server.bodies)


async def test_a_restart_is_told_by_the_processs_start(gate):
    one = await gate()
    (replica,) = one.engine._fleet.replicas
    before = await identity(replica)
    assert before == replica.identity == "1700000000.0"
    one.server.started = 1.8e9
    assert await identity(replica) not in (None, before)
