import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.base import Conversation, Turn
from guards.conversation import LIMIT, accumulated, cut, sentences, windows, without
from guards.targets import ordinary_prompts


def test_short_turns_are_windows_of_their_own_and_the_last_three_together():
    found = windows(Conversation.of("Who is she?", "A writer.", "Where was she born?", "Oslo.", "And when?"))
    assert [(window.text, window.turns) for window in found] == [
        ("And when?", (4,)),
        ("Oslo: And when?", (4,)),
        ("Where was she born?\nOslo.\nAnd when?", (2, 3, 4)),
        ("Oslo.", (3,)),
        ("Where was she born?", (2,)),
        ("A writer.", (1,)),
        ("Who is she?", (0,)),
    ]


def test_system_and_tool_turns_are_text_too():
    conversation = Conversation((Turn("system", "secret"), Turn("user", "go on"), Turn("tool", "result")))
    assert {window.turns for window in windows(conversation)} == {(0,), (1,), (2,), (0, 1, 2)}


def test_nothing_to_read():
    assert windows(Conversation(())) == ()
    assert windows(Conversation.of("", "  \n")) == ()


@given(st.text(st.sampled_from("ab 1.\n漢"), max_size=600))
def test_windows_leave_out_nothing_but_space(text):
    at = 0
    for piece in cut(text, window=12, overlap=4):
        start = text.index(piece, max(0, at - len(piece) - 60))
        assert not text[at:start].strip()
        at = max(at, start + len(piece))
    assert not text[at:].strip()


def test_neighbours_overlap():
    pieces = list(cut(" ".join(["once", "upon", "this", "time"] * 60)))
    assert len(pieces) > 2
    assert sum(len(piece.split()) for piece in pieces) == 240 + 24 * (len(pieces) - 1)


def test_a_short_turn_is_one_window():
    assert [window.text for window in windows(Conversation.of("I like the sea. Where was she born?"))] == [
        "I like the sea. Where was she born?"
    ]


def test_a_longer_turn_is_read_sentence_by_sentence_too():
    walks = "I like long walks by the sea, in every weather and with anybody who happens to be there at that hour."
    talk = f"{walks} Where was she born? Hm. Tell me all of it, please, for I would like to know it before tea."
    assert [window.text for window in windows(Conversation.of(talk))] == [
        walks,
        "Where was she born?",
        "Hm. Tell me all of it, please, for I would like to know it before tea.",
        talk,
    ]


@pytest.mark.parametrize("prompt", ordinary_prompts())
def test_an_ordinary_prompt_costs_one_encoding(prompt):
    assert [window.text for window in windows(Conversation.of(prompt))] == [prompt]


def test_other_readings_are_windows_of_the_same_turn():
    hidden = base64.b64encode(b"Where was she born?").decode()
    assert [(window.text, window.turns) for window in windows(Conversation.of(hidden))] == [
        ("Where was she born?", (0,))
    ]
    turned = "Jurer jnf fur obea?"
    assert [window.text for window in windows(Conversation.of(turned))] == [turned, "Where was she born?"]


def test_a_disguise_amid_padding_is_read():
    padding = "".join(f"The market opens at {i} and sells bread. " for i in range(200))
    found = windows(Conversation.of(f"{padding} Jurer jnf fur obea naq jura? {padding}"))
    assert any("Where was she born and when" in window.text for window in found)


def test_a_pronoun_is_read_as_whom_it_means():
    found = windows(Conversation.of("Who is Mara Lind?", "A writer from Oslo.", "What about her books?"))
    assert ("What about Mara Lind's books?", (2,)) in [(window.text, window.turns) for window in found]


def test_questions_and_news_come_before_repetitions():
    text = "The market opens at seven. " * 2_000 + "Where was she born then? " + "It rained all day long. " * 2_000
    (first, *_) = windows(Conversation.of(text))
    assert first.text == "Where was she born then?"


def test_scores_add_up_over_turns_and_fade():
    assert accumulated([]) == 0.0
    assert accumulated([0.3, 0.4, 0.1]) == 0.0
    assert accumulated([0.6, 0.6, 0.6], decay=0.5, bias=0.4) == pytest.approx(0.35)
    assert accumulated([0.9, 0.0, 0.0, 0.0]) == 0.0


@given(st.text(st.sampled_from("ab c.?\n"), max_size=200))
def test_sentences_leave_out_nothing_but_space(text):
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())


def test_many_turns_and_megabytes_are_bounded():
    many = Conversation(tuple(Turn("user", f"turn {i} {'pad ' * 200}") for i in range(2_000)))
    assert len(windows(many)) == LIMIT
    assert len(windows(Conversation.of("pad " * 250_000))) <= LIMIT


@pytest.mark.parametrize("unit", ["a", "a.b.", "a-", "\ud800", "\x00\x01", "TWFyYSBM", "wh3r3 ", "?!.", "漢", "her "])
def test_a_megabyte_of_anything_is_cut_within_a_second(unit):
    talk = Conversation.of(unit * (1_000_000 // len(unit)))
    start = time.process_time()
    assert len(windows(talk, words=frozenset({"okoye"}))) <= LIMIT
    assert time.process_time() - start < 1.5


def test_a_name_amid_padding_is_read_first():
    text = (
        "".join(f"pad{i} " for i in range(20_000)) + "the Okoye question " + "".join(f"end{i} " for i in range(20_000))
    )
    assert any("Okoye" in window.text for window in windows(Conversation.of(text), words=frozenset({"okoye"})))
    assert not any("Okoye" in window.text for window in windows(Conversation.of(text)))


TALK = Conversation(
    (
        Turn("system", "be brief"),
        Turn("user", "first"),
        Turn("assistant", "answer"),
        Turn("user", "second"),
        Turn("assistant", "answer"),
        Turn("tool", "result"),
        Turn("user", "now"),
    )
)


def test_whole_exchanges_are_left_out():
    assert without(TALK, {1}) == Conversation((TALK.turns[0], *TALK.turns[3:]))
    assert without(TALK, {2}) == without(TALK, {1, 2})
    assert without(TALK, {0}) == Conversation(TALK.turns[1:])
    assert without(TALK, {1, 5}) == Conversation((TALK.turns[0], TALK.turns[6]))


def test_what_is_asked_now_is_never_left_out():
    assert without(TALK, {6}) is None
    assert without(TALK, {1, 6}) is None
    assert without(TALK, ()) is None
    assert without(Conversation(()), {0}) is None
    assert without(Conversation((*TALK.turns, Turn("tool", "touched"))), {7}) is None


@given(
    st.lists(st.sampled_from(["system", "user", "assistant", "tool"]), min_size=1, max_size=9),
    st.sets(st.integers(0, 8), min_size=1),
)
def test_what_is_left_holds_nothing_touched_and_ends_as_before(roles, turns):
    conversation = Conversation(tuple(Turn(role, str(i)) for i, role in enumerate(roles)))
    rest = without(conversation, turns)
    if rest is not None:
        assert not {turn.text for turn in rest.turns} & {str(i) for i in turns}
        assert rest.turns[-1] == conversation.turns[-1]
        assert [turn.text for turn in rest.turns] == sorted(turn.text for turn in rest.turns)
