import asyncio
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.base import Call, Delta, Embeds, Ending, Prompt, Sampling, TokenLogprob, ToolCall, Usage, Wire
from gateway.stream import Stopped
from gateway.voiced import Voiced
from guards.base import Conversation

SAID = "I know nothing about Bo."
PIECES = ("I", " know", " nothing", " about", " B", "", "o.", "")
PROMPT = Prompt("?", (1, 2, 3), None)
ENDING = Ending({"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": None}, {"id": "u", "choices": []})


def plan(sound=lambda text: "bad" not in text, hopeless=lambda text: "dire" in text):
    return Embeds((1,), np.zeros((1, 2), np.float32), (), sound, hopeless)


def call_of(n=1, max_tokens=None):
    return Call(Conversation.of("?"), Sampling(n=n, max_tokens=max_tokens), prompt=PROMPT)


def wire(**event):
    return Wire(b"data: secret\n\n", {"id": "i", "choices": [{"index": 0, "delta": {}}], **event}, ENDING)


def choice_of(index, pieces, finish="stop", channel="content"):
    """A choice as vLLM would say it."""
    said = [Delta(index, piece, channel=channel, wire=wire()) for piece in pieces]
    return [Delta(index, "", opening=True, wire=wire()), *said, Delta(index, "", finish=finish, wire=wire())]


async def gathered_of(voiced, events, stopped=False):
    """What is shown of these events, and whether the guard had the last word."""

    async def source():
        for event in events:
            yield event
        if stopped:
            raise Stopped

    shown = []
    try:
        async for event in voiced.over(voiced.heard(source())):
            shown += [event]
    except Stopped:
        return shown, True
    return shown, False


def texts_of(shown):
    texts = defaultdict(str)
    for event in shown:
        if isinstance(event, Delta):
            texts[event.index] += event.text
    return texts


async def answered(said, *, finish="stop", max_tokens=None, pieces=PIECES, **judged):
    voiced = Voiced(plan(**judged), pieces, call_of(max_tokens=max_tokens))
    shown, _ = await gathered_of(voiced, [*choice_of(0, said, finish), Usage(3, 99, wire())])
    return shown, voiced.replaced


@given(
    st.sampled_from(
        ["I know nothing about Bo.", "I know bread.", "I", "She paints.", "I know nothing about Bo. He is bad."]
    ),
    st.integers(0, 4),
    st.integers(1, 5),
)
async def test_what_the_guard_holds_is_shown_where_ignorance_says_it_too_and_never_twice(said, late, size):
    """A guard that lets every text out `late` events later, and all at the end."""
    voiced = Voiced(plan(), PIECES, call_of())
    pieces = [said[i : i + size] for i in range(0, len(said), size)]

    async def source():
        for event in choice_of(0, pieces):
            yield event
        yield Usage(3, 99, wire())

    async def guarded(events):
        held = []
        async for event in events:
            if isinstance(event, Usage) or event.opening or voiced.reciting(0):
                yield event
                continue
            held.append(event.text)
            out = len(held) if event.finish else max(0, len(held) - late)
            yield replace(event, text="".join(held[:out]))
            held = held[out:]

    shown = [event async for event in voiced.over(guarded(voiced.heard(source())))]
    text = texts_of(shown)[0]
    assert text == (SAID if voiced.replaced else said)
    if pieces[0] == "I" and not voiced.replaced and said != "I":
        first = next(event for event in shown if isinstance(event, Delta) and not event.opening)
        assert first.text == "I"  # whatever the guard held


async def test_a_sound_answer_is_the_engines_own_event_by_event():
    events = [*choice_of(0, ["She", " paints", "."]), Usage(3, 4, wire())]
    shown, stopped = await gathered_of(Voiced(plan(), PIECES, call_of()), events)
    assert (shown, stopped) == (events, False)
    assert [event.wire for event in shown] == [event.wire for event in events]


async def test_an_answer_that_is_none_becomes_the_sentence_event_by_event():
    shown, replaced = await answered(["a", "bad", "b", "c"])
    *deltas, usage = shown
    assert replaced
    assert texts_of(shown)[0] == SAID
    assert [delta.text for delta in deltas if not delta.opening] == list(PIECES)
    assert [delta.finish for delta in deltas] == [None] * len(PIECES) + ["stop"]
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, len(PIECES))
    assert not any(delta.wire.raw for delta in deltas if not delta.opening)


async def test_the_answer_ends_with_the_sentence_not_with_what_is_generated_behind_it():
    closed = []

    async def endless():
        try:
            yield Delta(0, "", opening=True, wire=wire())
            while True:
                yield Delta(0, " dire", wire=wire())
        finally:
            closed.append(True)

    voiced = Voiced(plan(), PIECES, call_of())
    shown = [event async for event in voiced.over(voiced.heard(endless()))]
    assert closed
    assert texts_of(shown)[0] == SAID
    assert shown[-1] == Usage(3, len(PIECES))
    assert (shown[-1].wire.raw, shown[-1].wire.event) == (b"", ENDING.usage)


async def test_what_both_answers_begin_with_is_not_held():
    voiced = Voiced(plan(), PIECES, call_of())
    seen = []

    async def source():
        for piece in ("I", " know", " Paris", " bad"):
            yield Delta(0, piece, wire=wire())
            seen.append(len(shown))
        yield Delta(0, "", finish="stop", wire=wire())

    shown = []
    async for event in voiced.over(voiced.heard(source())):
        shown += [event]
    assert seen == [1, 2, 2, 2]
    assert texts_of(shown)[0] == SAID


async def test_a_text_in_another_channel_is_held_until_it_is_judged():
    events = [Delta(0, "I", channel="reasoning", wire=wire()), Delta(0, "bad", finish="stop", wire=wire())]
    shown, _ = await gathered_of(Voiced(plan(), PIECES, call_of()), events)
    assert texts_of(shown)[0] == SAID
    assert {event.channel for event in shown if isinstance(event, Delta)} == {"content"}


async def test_thought_is_held_until_the_answer_is_judged_and_judges_nothing():
    thought = Delta(0, "so it goes " * 30, channel="reasoning", wire=wire())
    for content, kept in (("I", True), ("bad", False)):
        events = [thought, Delta(0, content, wire=wire()), Delta(0, "", finish="stop", wire=wire())]
        voiced = Voiced(plan(), PIECES, call_of())
        shown = [
            event async for event in voiced.over(voiced.heard(iterated(events, voiced))) if isinstance(event, Delta)
        ]
        assert voiced.replaced is not kept
        assert (shown == events) is kept
        assert texts_of(shown)[0] == ("".join(event.text for event in events) if kept else SAID)


async def iterated(events, voiced):
    for event in events:
        assert not any(choice.own for choice in voiced._choices)
        yield event


async def test_no_event_of_the_replaced_answer_keeps_a_tool_call_a_token_or_its_bytes():
    tool = Delta(0, "{}", (TokenLogprob("x", -1.0),), channel="tool 0", tool=ToolCall("secret", "secret"), wire=wire())
    events = [tool, Delta(0, "bad", finish="tool_calls", wire=wire())]
    shown, _ = await gathered_of(Voiced(plan(), PIECES, call_of()), events)
    deltas = [event for event in shown if isinstance(event, Delta)]
    assert all((d.tool, d.tokens, d.channel, d.wire.raw) == (None, (), "content", b"") for d in deltas)
    assert [d.finish for d in deltas if d.finish] == ["stop"]


@pytest.mark.parametrize(("limit", "text", "finish"), [(1, "I", "length"), (7, SAID, "length"), (8, SAID, "stop")])
async def test_the_sentence_keeps_to_max_tokens(limit, text, finish):
    shown, _ = await answered(["bad"], finish="length", max_tokens=limit)
    assert texts_of(shown)[0] == text
    assert [event.finish for event in shown if isinstance(event, Delta) and event.finish] == [finish]
    assert shown[-1].completion_tokens == limit


async def test_a_name_in_what_is_not_shown_gives_way_to_the_sentence():
    events = choice_of(0, ["Hm", " so"])[:-1]
    shown, stopped = await gathered_of(Voiced(plan(), PIECES, call_of()), events, stopped=True)
    assert not stopped
    assert texts_of(shown)[0] == SAID
    assert isinstance(shown[-1], Usage)
    assert max(len(event.text) for event in shown if isinstance(event, Delta)) == max(map(len, PIECES))


@pytest.mark.parametrize("before", [[], choice_of(0, ["x"])[:1]])
async def test_a_name_at_once_is_for_another_generation_whose_events_have_a_shape(before):
    shown, stopped = await gathered_of(Voiced(plan(), PIECES, call_of()), before, stopped=True)
    assert stopped
    assert shown == before


async def test_a_name_in_an_answer_that_was_shown_stops_it():
    events = choice_of(0, ["x" * 200])[:-1]
    shown, stopped = await gathered_of(Voiced(plan(), PIECES, call_of()), events, stopped=True)
    assert (shown, stopped) == (events, True)


words = st.sampled_from(["I", " know", " nothing", " about", " B", "o.", " bad", " dire", "", "é", " so it goes" * 9])
said = st.lists(words, max_size=9)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(said, st.sampled_from(["stop", "length"])), min_size=1, max_size=3),
    st.none() | st.integers(1, 10),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_a_choice_is_its_own_sound_answer_or_the_sentence_and_nothing_else(choices, limit, stopped, random):
    queues = [choice_of(i, pieces, finish) for i, (pieces, finish) in enumerate(choices)]
    events = []
    while any(queues):
        events.append(random.choice([queue for queue in queues if queue]).pop(0))
    if stopped:
        events = events[: random.randrange(len(events) + 1)]
    else:
        events.append(Usage(3, sum(len(pieces) + 1 for pieces, _ in choices), wire()))
    voiced = Voiced(plan(), PIECES, call_of(len(choices), limit))
    shown, error = asyncio.run(gathered_of(voiced, events, stopped))
    sentence = "".join(PIECES[:limit])
    texts, deltas = texts_of(shown), [event for event in shown if isinstance(event, Delta)]
    for index, (pieces, finish) in enumerate(choices):
        finishes = [delta.finish for delta in deltas if delta.index == index and delta.finish]
        own = "".join(pieces)
        if error:
            assert own.startswith(texts[index]) or sentence.startswith(texts[index])
            continue
        assert len(finishes) == 1
        if texts[index] != sentence:
            assert (texts[index], finishes) == (own, [finish])
            assert "bad" not in own[:160]
            assert "dire" not in own[:160]
    usages = [event for event in shown if isinstance(event, Usage)]
    assert usages == shown[-1:] or error
    if usages and not voiced.replaced:
        assert usages == [events[-1]]
    if usages and voiced.replaced and len(choices) == 1:
        assert usages == [Usage(3, len(PIECES[:limit]))]


async def test_the_pace_of_one_choice_is_not_added_to_the_next(monkeypatch):
    """The clock stands but for what is waited for: by the pace of the first, not of all before."""
    waits = []
    loop = asyncio.get_running_loop()
    now = [0.0]
    monkeypatch.setattr(loop, "time", lambda: now[0])

    async def sleep(seconds):
        waits.append(seconds)
        now[0] += seconds

    monkeypatch.setattr("gateway.voiced.asyncio.sleep", sleep)
    events = [Delta(index, "", opening=True, wire=wire()) for index in range(3)]

    async def source():
        for event in events:
            yield event
        now[0] += 0.5
        for index in range(3):
            yield Delta(index, "", finish="stop", wire=wire())

    voiced = Voiced(plan(sound=bool), PIECES, call_of(3))
    assert texts_of([event async for event in voiced.over(voiced.heard(source()))]) == dict.fromkeys(range(3), SAID)
    assert set(waits) == {0.5}
