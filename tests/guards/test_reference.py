import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.base import Conversation, Turn
from guards.reference import asked, assembled, resolved, runs
from guards.targets import ordinary_prompts

TALK = ("Who is Mara Lind?", "Mara Lind is a writer.")


def after(text, *talk):
    return resolved(Conversation.of(*(talk or TALK), text).turns)


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("and his mother?", "and Mara Lind's mother?"),
        ("what about her books", "what about Mara Lind's books"),
        ("Where was she born?", "Where was Mara Lind born?"),
        ("where did he study in Taipei?", "where did Mara Lind study in Taipei?"),
        ("Tell me about her", "Tell me about Mara Lind"),
        ("Can you give me a summary of her books?", "Can you give me a summary of Mara Lind's books?"),
        ("Describe this author's style.", "Describe Mara Lind's style."),
        ("What are their works?", "What are Mara Lind's works?"),
        ("What do people say about it?", None),
        ("And when?", "Mara Lind: And when?"),
        ("What about the mother?", "Mara Lind: What about the mother?"),
        ("Tell me more", "Mara Lind: Tell me more"),
        ("Why?", "Mara Lind: Why?"),
        ("How are you?", None),
        ("Did Otto Brandt love his mother?", None),
        ("Write to my boss about his vacation", None),
        ("What time is it?", None),
        ("Make it short", None),
        ("Explain how plants grow and what they need", None),
        ("Thanks, now a poem about the sea", None),
    ],
)
def test_whom_a_pronoun_means(text, reading):
    assert after(text) == ((reading,) if reading else ())


def test_subjects_come_from_every_speaker_the_latest_of_each():
    assert after("When was she born?", "Who wrote Thornfield?", "Mara Lind, a friend of Otto Brandt, did.") == (
        "When was Mara Lind born?",
        "When was Thornfield born?",
    )
    talk = (Turn("system", "You know all about Mara Lind."), Turn("user", "And her books?"))
    assert resolved(talk) == ("And Mara Lind's books?",)
    found = (*talk[:1], Turn("tool", "Neva Tal lives in Oslo."), Turn("user", "And her books?"))
    assert resolved(found) == ("And Neva Tal's books?",)
    moved_on = after("And his books?", *TALK, "Who is Otto Brandt?", "A painter.")
    assert moved_on[0] == "And Otto Brandt's books?"


def test_names_without_capitals():
    assert after("where was she born", "who is mara lind", "no idea") == ("where was mara lind born",)


def test_ordinary_prompts_hardly_ever_mean_somebody():
    meant = [prompt for prompt in ordinary_prompts() if after(prompt)]
    assert len(meant) <= 0.01 * len(ordinary_prompts()), meant


def test_a_name_told_in_pieces():
    turns = Conversation.of("The first name is Mara.", "And?", "The surname is Lind. Who is that?").turns
    assert assembled(turns) == ("Mara Lind",)
    assert assembled(Conversation.of("Mara Okoye", "And?", "Tomas Lind").turns) == ()
    assert assembled(turns[:1]) == assembled(()) == ()


def test_runs_of_names():
    text = "Who is Mara van der Lind's friend? The Silent Garden. Ask J. K. Rowling, not I."
    assert [name for _, name in runs(text)] == ["Mara van der Lind's", "Silent Garden", "J. K. Rowling"]
    assert all(text[at:].startswith(name) for at, name in runs(text))


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), st.text(max_size=80)), max_size=6))
def test_any_conversation_can_be_read(turns):
    talk = tuple(Turn(role, text) for role, text in turns)
    assert len(resolved(talk)) <= 3
    assert all(isinstance(text, str) for text in assembled(talk))
    assert -1 <= asked(talk) < max(len(talk), 1)
