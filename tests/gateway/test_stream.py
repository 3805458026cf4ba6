import asyncio
import math
import re
from dataclasses import replace
from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.base import Call, Delta, Embeds, Ending, Pass, Prompt, Sampling, Say, TokenLogprob, ToolCall, Usage, Wire
from gateway.stream import Stopped, Unsound, for_engine, reviewed, sounded
from guards.aliases import weigh
from guards.base import Conversation, Hit
from guards.lexicon import LexiconIndex
from guards.output import Asked, OutputGuard

NAME = "Ada Quill"
USAGE = Usage(3, 4)
CALL = Call(Conversation.of("?"))


def output(*names):
    index = LexiconIndex()
    for i, name in enumerate(names):
        index.add(str(i), weigh(name, ()))
    return OutputGuard(index.view(frozenset(map(str, range(len(names))))))


GUARD = output(NAME)


class Source:
    """An engine's stream that knows whether it was closed."""

    def __init__(self, events):
        self.events, self.closed, self.said = events, False, 0

    async def stream(self):
        try:
            for event in self.events:
                await asyncio.sleep(0)
                self.said += 1
                yield event
        finally:
            self.closed = True


def spoken(index, pieces, logprobs=False):
    tokens = [(TokenLogprob(piece, -1.0),) if logprobs else () for piece in pieces]
    said = [Delta(index, piece, scored) for piece, scored in zip(pieces, tokens, strict=True)]
    return [*said, Delta(index, "", finish="stop")]


def embeds(sound):
    return Embeds((1,), np.zeros((1, 2), np.float32), (), sound)


async def gathered(stream):
    """What came out, and the error that ended it."""
    events = []
    try:
        async for event in stream:
            events += [event]
    except (Stopped, Unsound) as error:
        return events, type(error)
    return events, None


def text_of(events, index=0):
    return "".join(event.text for event in events if isinstance(event, Delta) and event.index == index)


def cut(text, places):
    edges = [0, *sorted({place % (len(text) + 1) for place in places}), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


prose = st.lists(st.sampled_from(["Ada", "Quill", "Ada Quill", " ", "ad", "a", "Q", ". ", "é"]), max_size=12).map(
    "".join
)
places = st.lists(st.integers(0, 200), max_size=8)


@settings(max_examples=200, deadline=None)
@given(prose, places, st.booleans())
def test_what_is_shown_does_not_depend_on_the_cuts(text, at, logprobs):
    async def shown(pieces):
        events, error = await gathered(reviewed(Source(spoken(0, pieces, logprobs)).stream(), CALL, GUARD, Pass()))
        return text_of(events), error

    whole, stopped = asyncio.run(shown([text]))
    pieced, also = asyncio.run(shown(cut(text, at)))
    assert (pieced, also) == (whole, stopped)
    assert text.startswith(whole)
    assert not re.search(r"(?<!\w)ada\s+quill(?!\w)", whole.lower())
    assert stopped or whole == text


@settings(max_examples=200, deadline=None)
@given(prose, places)
def test_tokens_never_run_ahead_of_the_text(text, at):
    pieces = cut(text, at)
    events, error = asyncio.run(gathered(reviewed(Source(spoken(0, pieces, True)).stream(), CALL, GUARD, Pass())))
    deltas = [event for event in events if isinstance(event, Delta)]
    texts = list(accumulate((delta.text for delta in deltas), initial=""))[1:]
    tokens = list(accumulate(("".join(t.text for t in delta.tokens) for delta in deltas), initial=""))[1:]
    for so_far, scored in zip(texts, tokens, strict=True):
        assert so_far.startswith(scored)
    if error is None:
        assert [token.text for delta in deltas for token in delta.tokens] == pieces


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(prose, places), min_size=1, max_size=3), st.randoms())
def test_choices_do_not_mix(answers, random):
    queues = [spoken(i, cut(text, at)) for i, (text, at) in enumerate(answers)]
    mixed = []
    while any(queues):
        mixed.append(random.choice([queue for queue in queues if queue]).pop(0))
    events, error = asyncio.run(gathered(reviewed(Source([*mixed, USAGE]).stream(), CALL, GUARD, Pass())))
    for i, (text, _) in enumerate(answers):
        assert text.startswith(text_of(events, i))
        if error is None:
            assert text_of(events, i) == text
            assert [e.finish for e in events if isinstance(e, Delta) and e.index == i][-1] == "stop"
    if error is None:
        assert events[-1] == USAGE


async def test_a_name_stops_the_answer_and_closes_the_engine():
    source = Source([*spoken(0, ["It was ", "Ada", " Quill", ", I think"]), USAGE])
    events, error = await gathered(reviewed(source.stream(), CALL, GUARD, Pass()))
    assert (text_of(events), error) == ("It was ", Stopped)
    assert source.closed
    assert source.said < len(source.events)
    assert not any(event.finish for event in events)


async def test_a_name_at_the_very_end_is_found_when_the_choice_finishes():
    events, error = await gathered(reviewed(Source(spoken(0, ["It was Ada Quill"])).stream(), CALL, GUARD, Pass()))
    assert (text_of(events), error) == ("It was ", Stopped)


async def test_our_own_words_are_not_reviewed():
    plan = Say("I know nothing about Ada Quill.", Conversation.of("?"))
    said = spoken(0, ["I know nothing about ", "Ada Quill", "."])
    assert await gathered(reviewed(Source(said).stream(), CALL, GUARD, plan)) == (said, None)


async def test_untouched_deltas_leave_as_they_came():
    said = [*spoken(0, ["one ", "two ", "three"]), USAGE]
    assert await gathered(reviewed(Source(said).stream(), CALL, output(), Pass())) == (said, None)


@pytest.mark.parametrize("layer", ["reviewed", "sounded"])
async def test_a_reader_who_goes_away_closes_the_engine(layer):
    source = Source(spoken(0, ["x ", "y ", "z "]))
    gated = (
        reviewed(source.stream(), CALL, GUARD, Pass()) if layer == "reviewed" else sounded(source.stream(), Pass(), 1)
    )
    await anext(gated)
    await gated.aclose()
    assert source.closed
    assert source.said == 1


async def test_sound_answers_lose_nothing():
    said = [*spoken(0, ["word "] * 80), USAGE]
    source = Source(said)
    assert await gathered(sounded(source.stream(), embeds(lambda text: True), 1)) == (said, None)
    assert source.closed


async def test_an_unsound_answer_shows_nothing_and_closes_the_engine():
    source = Source([*spoken(0, ["word "] * 80), USAGE])
    assert await gathered(sounded(source.stream(), embeds(lambda text: False), 1)) == ([], Unsound)
    assert source.closed
    assert source.said < 40


async def test_one_unsound_choice_condemns_all_before_any_is_shown():
    said = [*spoken(0, ["good"]), *spoken(1, ["bad"]), *spoken(2, ["good"]), USAGE]
    assert await gathered(sounded(Source(said).stream(), embeds(lambda text: text != "bad"), 3)) == ([], Unsound)


async def test_nothing_is_shown_before_every_choice_is_judged():
    seen = []
    said = [*spoken(0, ["x" * 200]), Delta(1, "y"), Delta(1, "", finish="stop"), USAGE]
    source = Source(said)
    stream = sounded(source.stream(), embeds(lambda text: not seen.append(text)), 2)
    await anext(stream)
    assert seen == ["x" * 200, "y"]
    assert source.said == 4
    await stream.aclose()


async def test_an_engine_that_ends_without_a_finish_is_judged_by_what_it_said():
    assert await gathered(sounded(Source([Delta(0, "x"), USAGE]).stream(), embeds(lambda text: False), 1)) == (
        [],
        Unsound,
    )
    assert await gathered(sounded(Source([]).stream(), embeds(lambda text: bool(text)), 1)) == ([], Unsound)


async def test_plans_without_embeddings_are_not_held_back():
    source = Source(spoken(0, ["a", "b"]))
    stream = sounded(source.stream(), Pass(), 1)
    assert await anext(stream) == Delta(0, "a")
    assert source.said == 1
    await stream.aclose()


@pytest.mark.parametrize(
    ("said", "stop", "finish", "shown"),
    [
        ("It was Ada Qu", (), "length", "It was "),
        ("It was Ada Qu", ("x",), "length", "It was "),
        ("It was Ada Qu", ("x",), "stop", "It was Ada Qu"),
        ("It was Ada Qu", (), "stop", "It was Ada Qu"),
        ("It was Ad", (), "length", "It was Ad"),
        ("It was Bo", ("x",), "length", "It was Bo"),
    ],
)
async def test_a_cut_answer_ends_before_the_name_that_it_began(said, stop, finish, shown):
    deltas = [*spoken(0, [said], True)[:-1], Delta(0, "", (), finish)]
    call = replace(CALL, sampling=Sampling(stop=stop))
    events, error = await gathered(reviewed(Source(deltas).stream(), call, GUARD, Pass()))
    assert error is None
    assert "".join(event.text for event in events) == shown
    assert len("".join(token.text for event in events for token in event.tokens)) <= len(shown)


def asking(stop=(), **sampling):
    return replace(CALL, sampling=Sampling(stop=stop, **sampling))


async def shown(pieces, call=CALL, guard=GUARD, asked=None, **options):
    """The text, its last finish, and the error that ended it."""
    stream = reviewed(Source(spoken(0, pieces)).stream(), call, guard, Pass(), asked or Asked())
    events, error = await gathered(stream)
    finishes = [event.finish for event in events if isinstance(event, Delta) and event.finish]
    return text_of(events), finishes, error


def test_the_engine_is_asked_for_no_stops_and_some_alternatives_more():
    asked = for_engine(asking(("x",), logprobs=5)).sampling
    assert (asked.stop, asked.logprobs > 5) == ((), True)
    assert for_engine(asking(("x",), logprobs=0)).sampling.logprobs == 0
    assert for_engine(CALL) == CALL


@pytest.mark.parametrize("stop", [" Quill", "Quill", "a Q", "Ada", "da Quill", "Ada Quill", "l"])
async def test_a_stop_string_in_a_name_is_no_oracle(stop):
    """Whatever the string, the answer ends as it does without it: the name is found first."""
    assert await shown(["It was Ada", " Quill, the baker."], asking((stop,))) == ("It was ", [], Stopped)


async def test_a_stop_string_ends_what_is_shown_and_the_engine():
    source = Source([*spoken(0, ["One. T", "wo. Three.", " Ada Quill"]), USAGE])
    events, error = await gathered(reviewed(source.stream(), asking((" Three",)), GUARD, Pass()))
    assert (text_of(events), error) == ("One. Two.", None)
    assert [event.finish for event in events if isinstance(event, Delta)][-1] == "stop"
    assert (source.said, source.closed) == (2, True)
    assert events[-1].completion_tokens > 0


async def test_the_usage_of_an_engine_that_counts_is_kept():
    deltas = [replace(delta, usage=Usage(7, i + 1)) for i, delta in enumerate(spoken(0, ["One", " two", " three"]))]
    events, _ = await gathered(reviewed(Source(deltas).stream(), asking((" two",)), GUARD, Pass()))
    assert events[-1] == Usage(7, 2)
    assert sum(isinstance(event, Usage) for event in events) == 1


async def test_one_choice_stops_and_the_other_goes_on():
    said = [
        Delta(0, "a b "),
        Delta(1, "c "),
        Delta(0, "d "),
        Delta(1, "e", (), "stop"),
        Delta(0, "f", (), "stop"),
        USAGE,
    ]
    source = Source(said)
    events, error = await gathered(reviewed(source.stream(), asking(("b",), n=2), output("Zoe Quill"), Pass()))
    assert (text_of(events, 0), text_of(events, 1), error) == ("a ", "c e", None)
    assert [(e.index, e.finish) for e in events if isinstance(e, Delta) and e.finish] == [(0, "stop"), (1, "stop")]
    assert source.said == 4
    assert isinstance(events[-1], Usage)


def until_stop(text, stops):
    """The text before the stop string that is complete first, of several the one that began first."""
    found = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(found)[1]] if found else text


@settings(max_examples=200, deadline=None)
@given(prose, places, st.lists(st.sampled_from(["Ada", " Q", "a", "ill", ". ", "Quillé", "aQ"]), max_size=3))
def test_stop_strings_do_not_depend_on_the_cuts(text, at, stops):
    plain, finish, error = asyncio.run(shown([text]))
    pieced = asyncio.run(shown(cut(text, at), asking(tuple(stops))))
    expected = until_stop(plain, stops)
    assert pieced[0] == expected
    if expected != plain:
        assert pieced[1:] == (["stop"], None)
    elif not any(stop in plain for stop in stops):
        assert pieced[1:] == (finish, error)


CHANNELS = ("content", "reasoning", "call 0")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(CHANNELS), prose), max_size=8))
def test_every_channel_is_held_by_itself(said):
    deltas = [*(Delta(0, text, (), None, channel) for channel, text in said), Delta(0, "", (), "stop"), USAGE]
    events, error = asyncio.run(gathered(reviewed(Source(deltas).stream(), CALL, GUARD, Pass())))
    for channel in CHANNELS:
        came = "".join(text for where, text in said if where == channel)
        left = "".join(e.text for e in events if isinstance(e, Delta) and e.channel == channel)
        assert came.startswith(left)
        assert not re.search(r"(?<!\w)ada\s+quill(?!\w)", left.lower())
        assert error or left == came
    if error is None:
        assert [event.finish for event in events if isinstance(event, Delta)][-1] == "stop"
        assert sum(bool(event.finish) for event in events if isinstance(event, Delta)) == 1


async def test_a_name_in_any_channel_stops_the_answer():
    for channel in CHANNELS:
        said = [
            Delta(0, "It was Ada ", (), None, channel),
            Delta(0, "Hm. ", (), None, "x"),
            Delta(0, "Quill.", (), None, channel),
        ]
        events, error = await gathered(reviewed(Source(said).stream(), CALL, GUARD, Pass()))
        assert (error, [e.text for e in events]) == (Stopped, ["It was ", "Hm. "])


def scored(text, *top):
    return TokenLogprob(text, math.log(0.1), tuple((other, math.log(p)) for other, p in top))


async def tokens_of(tokens, count=5, asked=None):
    deltas = [*(Delta(0, token.text, (token,)) for token in tokens), Delta(0, "", (), "stop")]
    stream = reviewed(Source(deltas).stream(), asking(logprobs=count), GUARD, Pass(), asked or Asked())
    events, _ = await gathered(stream)
    return [token for event in events for token in event.tokens]


async def test_alternatives_that_begin_or_end_a_name_are_as_if_they_could_not_be_said():
    said = [
        scored("It was", (" was", 0.2)),
        scored(" Bo", (" Adam", 0.1), (" Ada Q", 0.75), (" Bo", 0.1)),
        scored(" Hall"),
    ]
    first, second, third = await tokens_of(said)
    assert (first, third) == (said[0], said[2])
    assert [text for text, _ in second.top] == [" Adam", " Bo"]
    assert math.exp(second.logprob) == pytest.approx(0.4)
    assert math.exp(second.top[0][1]) == pytest.approx(0.4)


async def test_an_alternative_that_ends_a_name_begun_in_what_is_continued():
    asked = Asked(tail="by Ada")
    (token,) = await tokens_of([scored(" Hall", (" Quill", 0.8), (" Hall", 0.1))], asked=asked)
    assert [text for text, _ in token.top] == [" Hall"]


async def test_no_more_alternatives_than_asked_for_and_no_fewer():
    said = [scored(" Bo", *((other, 0.05) for other in (" Ada Q", " a", " b", " c", " d")))]
    (token,) = await tokens_of(said, count=2)
    assert [text for text, _ in token.top] == [" a", " b"]
    (token,) = await tokens_of(said, count=0)
    assert token.top == ()


class Hears:
    """Stops at bakers."""

    name = "hears"

    def __init__(self, fails=False):
        self.fails = fails

    async def review(self, near, sentences):
        if self.fails:
            raise RuntimeError
        return [Hit("fr", 1.0, 0.5, self.name, (i,)) for i, text in enumerate(sentences) if "baker" in text]


NEAR = Asked("Who?", "Who?", near={"fr": "Who?"})


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["It was la", "te. She was a", " baker. So."], ("It was late.", [], Stopped)),
        (["It was late. She baked."], ("It was late. She baked.", ["stop"], None)),
        (["It was late. There is Ada Quill."], ("It was late.", [], Stopped)),  # and no half a sentence
        (["It was late. A baker is Ada Quill."], ("It was late.", [], Stopped)),
    ],
)
async def test_what_was_nearly_asked_is_reviewed_by_sentences(pieces, expected):
    index = LexiconIndex()
    index.add("0", weigh(NAME, ()))
    guard = OutputGuard(index.view(frozenset("0")), reviewer=Hears())
    assert await shown(pieces, guard=guard, asked=NEAR) == expected
    assert await shown(list("".join(pieces)), guard=guard, asked=NEAR) == expected
    plain = await shown(["A baker. "], guard=guard)
    assert plain == ("A baker. ", ["stop"], None)


async def test_a_reviewer_that_fails_stops_the_answer():
    counted = []
    guard = OutputGuard(output()._names, reviewer=Hears(fails=True), failed=lambda *what: counted.append(what))
    assert await shown(["It was late. So."], guard=guard, asked=NEAR) == ("", [], Stopped)
    assert counted == [("hears", "error")]


def came(text="", finish=None, **rest):
    """A delta as a remote engine gives it."""
    return Delta(0, text, finish=finish, wire=Wire(b"data: x\n\n", {"id": "i"}, ENDING), **rest)


ENDING = Ending({"index": 0}, {"id": "u", "usage": {}}, silent=False)


async def test_an_event_that_was_not_touched_is_the_one_that_came():
    said = [came(opening=True), came("one "), came(""), came("two"), came("", "stop")]
    events, _ = await gathered(reviewed(Source([*said, USAGE]).stream(), CALL, GUARD, Pass()))
    assert all(event is delta for event, delta in zip(events, said, strict=False))
    assert events[-1] is USAGE


async def test_an_event_that_was_touched_keeps_its_shape_alone():
    events, _ = await gathered(reviewed(Source([came("It was Ad"), came("olf", "stop")]).stream(), CALL, GUARD, Pass()))
    assert text_of(events) == "It was Adolf"
    assert [event.wire.raw for event in events] == [b"", b""]
    assert all(event.wire.ending is ENDING for event in events)


@pytest.mark.parametrize("silent", [True, False])
async def test_a_token_without_text_has_an_event_where_the_server_gives_it_one(silent):
    wire = Wire(b"", {"id": "i"}, replace(ENDING, silent=silent))
    events, _ = await gathered(reviewed(Source([Delta(0, "", wire=wire)]).stream(), CALL, GUARD, Pass()))
    assert len(events) == silent


async def test_an_answer_that_ends_at_a_stop_string_has_the_usage_that_any_has():
    call = replace(asking((" two",)), prompt=Prompt("?", (1, 2, 3), None))
    source = Source([came("one"), came(" two"), came(" three", "stop"), USAGE])
    events, _ = await gathered(reviewed(source.stream(), call, GUARD, Pass()))
    assert events[-1] == Usage(3, 2)
    assert (events[-1].wire.raw, events[-1].wire.event) == (b"", ENDING.usage)


async def test_what_a_choice_says_after_its_stop_string_is_not_counted():
    call = replace(asking((" two",), n=2), prompt=Prompt("?", (1, 2, 3), None))
    said = [Delta(0, "one two"), Delta(0, " three four"), Delta(1, "one"), Delta(1, " two")]
    events, _ = await gathered(reviewed(Source(said).stream(), call, GUARD, Pass()))
    assert events[-1] == Usage(3, 4)


async def test_what_the_guard_held_behind_a_stop_string_is_not_counted():
    call = replace(asking((" two",)), prompt=Prompt("?", (1, 2, 3), None))
    said = [Delta(0, piece) for piece in ("one", " Ada", " two", " Ada", " Qu", "ote")]
    guard = output("Ada two Ada Quill")
    events, _ = await gathered(reviewed(Source(said).stream(), call, guard, Pass()))
    assert (text_of(events), events[-1]) == ("one Ada", Usage(3, 3))


async def test_an_exchange_that_was_left_out_is_counted():
    usage = replace(USAGE, wire=Wire(b"data: x\n\n", {"id": "i"}))
    for sent, raw in ((None, b"data: x\n\n"), (USAGE.prompt_tokens, b"data: x\n\n"), (90, b"")):
        source = Source([came("x", "stop"), usage])
        events, _ = await gathered(reviewed(source.stream(), replace(CALL, sent=sent), GUARD, Pass()))
        assert (events[-1].prompt_tokens, events[-1].wire.raw) == (sent or USAGE.prompt_tokens, raw)


@pytest.mark.parametrize(("name", "stopped"), [("find", None), ("ask_Ada_Quill", Stopped)])
async def test_the_name_of_a_tool_is_read_before_it_leaves(name, stopped):
    call = came(channel="tool 0", tool=ToolCall("c", name))
    events, error = await gathered(reviewed(Source([call, came("", "stop")]).stream(), CALL, GUARD, Pass()))
    assert error is stopped
    assert [event.tool for event in events if event.tool] == ([] if stopped else [call.tool])


@pytest.mark.parametrize(("options", "stopped"), [({}, None), ({"tool_choice": "required"}, Stopped)])
async def test_only_our_own_words_are_not_reviewed(options, stopped):
    """Where the client wants a form, a ready answer is the model's, to another prompt."""
    plan, call = Say("I know nothing about Ada Quill.", Conversation.of("?")), replace(CALL, options=options)
    events, error = await gathered(reviewed(Source(spoken(0, ["Ada Quill."])).stream(), call, GUARD, plan))
    assert error is stopped
    assert ("Quill" in text_of(events)) is not bool(stopped)


async def test_computed_log_probabilities_have_the_digits_of_given_ones():
    said = scored(" Bo", (" Adam", 0.1), (" Ada Q", 0.75), (" Bo", 0.1))
    _, second = await tokens_of([scored("It was"), said])
    for number in (second.logprob, *(logprob for _, logprob in second.top)):
        assert number == float(np.float32(number))
