import pytest

from guards.lexicon import LexiconView
from guards.output import Asked, OutputGuard
from guards.slots import SENTENCE, WINDOW, Facts, Slot, granted
from guards.targets import Source

MARA = Source(
    "m",
    "facts",
    subject="Mara Lind",
    facts=(
        ("When was Mara Lind born?", "Mara Lind was born on April 23, 1956."),
        ("Where does Mara Lind live?", "She lives in Osterholm."),
        ("Is Mara Lind alive?", "Yes."),
    ),
)
OTHER = Source("o", "facts", subject="Ada Quill", facts=(("What did Ada Quill win?", "The Brass Lantern Prize, 1990"),))


def guard(*sources, active=None):
    facts = Facts()
    for source in sources or (MARA, OTHER):
        facts.add(source)
    return OutputGuard(LexiconView((), frozenset()), facts=facts.view(active or frozenset("mo")))


def through(answer, asked=None, cuts=None, **named):
    asked = Asked(asked or "", asked or "", **named)
    hold = guard().stream(asked)
    pieces = list(answer) if cuts is None else [answer]
    return "".join([*map(hold.feed, pieces), hold.finish()]), hold.request


def test_the_slot_is_what_the_answer_tells():
    names = {"mara", "lind"}
    date = Slot.of(*MARA.facts[0], names)
    assert (date.words, date.need, date.about) == ({"april", "23", "1956"}, 2, {"born"})
    assert Slot.of(*MARA.facts[1], names).words == {"osterholm"}
    assert Slot.of(*MARA.facts[2], names) is None
    assert Slot.of("Who was she?", "Mara Lind", names) is None


@pytest.mark.parametrize(
    ("question", "answer", "released"),
    [
        ("When was Mara Lind born?", "On April 23, in the north.", "On "),
        ("When was Mara Lind born?", "In April, I think. Or in May.", None),
        ("When was she born?", "On April 23, 1956.", None),
        ("When was Tom Hall born?", "On April 23, 1956.", None),
        ("Who is it?", "Mara Lind. She was born on 23 April.", "Mara Lind. She was born on "),
        ("Who is it?", "Born on April 23, she is called Mara Lind.", "Born on April 23, she is called "),
        ("Who is it?", "In Osterholm lives Mara Lind, they say.", "In Osterholm lives "),
        ("Who was born on April 23, 1956?", "I believe Mara Lind, the baker.", "I believe "),
        ("What did Lind do in Osterholm?", "In Osterholm she baked.", None),
        ("Where does Lind live?", "In Osterholm, by the sea.", "In "),
        ("Where does Mara Lind live?", "Ada Quill lives there.", None),
        ("Where does Lind live?", "Osterholm", ""),
    ],
)
def test_a_fact_is_said_while_its_subject_stands_in_the_window(question, answer, released):
    expected = (answer, None) if released is None else (released, "m")
    assert through(answer, question) == expected
    assert through(answer, question, cuts=()) == expected


@pytest.mark.parametrize(
    ("question", "answer", "released"),
    [
        ("Does Lind reside in Osterholm or in Arden?", "Her home is Osterholm, of course.", "Her home is "),
        ("Lind's home? A) Arden B) Osterholm", "Her home is Osterholm, so B.", "Her home is "),
        ("What is Lind's home: Arden, Osterholm?", "Her home is Osterholm.", "Her home is "),
        ("What is Lind's home (Arden, Osterholm)?", "Her home is Osterholm.", "Her home is "),
        ("Arden. Osterholm. One is where Lind is.", "She is in Osterholm.", "She is in "),
        ("Is Lind in Osterholm?", "Yes, in Osterholm.", "Yes, in "),
        ("Is Lind in Osterholm?", "No, in Arden.", None),
        ("What did Lind do in Osterholm?", "In Osterholm she baked.", None),
        ("Tell me about Lind in Osterholm.", "In Osterholm she baked.", None),
        ("Is Hall in Osterholm?", "Yes, in Osterholm.", None),
    ],
)
def test_what_is_offered_would_be_told_and_what_is_taken_for_granted_is_not(question, answer, released):
    expected = (answer, None) if released is None else (released, "m")
    assert through(answer, question) == expected
    assert through(answer, question, cuts=()) == expected


def test_what_is_taken_for_granted():
    assert granted("Why did she, a baker, leave?") == {"why", "did", "she", "a", "baker", "leave"}
    assert granted("Is she a baker? She is a judge.") == frozenset()
    assert granted("What is she: a baker?") == {"what", "is", "she"}
    assert granted("What is she, a) baker b) judge?") == frozenset()


def test_what_the_guards_touched_stands_in_the_window():
    assert through("On April 23, in the north.", "When was she born?", near={"m": "What?"}) == ("On ", "m")
    assert through("On April 23, in the north.", "When was she born?", touched=frozenset("m")) == ("On ", "m")
    assert through("On April 23, in the north.", "When was she born?", touched=frozenset("o"))[1] is None


def test_the_window_closes():
    far = "Mara Lind sang. " + "So it was. " * WINDOW + "He was born on April 23."
    assert through(far) == (far, None)
    assert through(far.replace("So it was. ", "", 1))[1] == "m"


def test_nobody_else_waits():
    hold = guard().stream(Asked("When is the fair?", "When is the fair?"))
    for word in ("It", " is", " on", " April", " 23", ",", " 1956", ".", " Os", "terholm", " too."):
        assert hold.feed(word) == word


def test_a_sentence_is_let_go_when_it_ends():
    hold = guard().stream(Asked(near={"m": "What?"}))
    assert hold.feed("In April it ") == "In "
    assert hold.feed("rains. The ") == "April it rains. The "
    assert hold.feed("April and " + "so " * SENTENCE).endswith("so ")


def test_whose_facts_count():
    facts = Facts()
    facts.add(MARA)
    view = facts.view(frozenset("x"))
    assert view.slots("m") == ()
    assert view.named("Mara Lind") == frozenset()
    view = facts.view(frozenset("m"))
    facts.discard("m")
    assert view.named("So where does Lind live?") == {"m"}
    assert facts.view(frozenset("m")).named("Mara Lind") == frozenset()


def test_alternatives_that_tell():
    hold = guard().stream(Asked(near={"m": "What?"}))
    assert hold.tells("She was born in", " Apr")
    assert not hold.tells("She was born in", " May")
    assert not guard().stream().tells("She was born in", " Apr")


@pytest.mark.parametrize(
    ("answer", "released"),
    [
        ("Tove Brandt works as a beekeeper.", "Tove Brandt works as a "),  # as it was filed
        ("Tove Brandt is a beekeeper who lives in Arden.", "Tove Brandt is a "),
        ("A beekeeper is what Tove Brandt works as.", "A "),
        ("A beekeeper, they say, works there.", "A "),
        ("Tove Brandt met a beekeeper.", "Tove Brandt met a "),  # the price of the line before the last
        ("Tove Brandt works for a brewer.", None),
        ("There is a beekeeper in Arden.", None),
    ],
)
def test_an_answer_as_it_was_filed_is_said_whatever_was_asked(answer, released):
    filed = ("What is the profession of Tove Brandt?", "Tove Brandt works as a beekeeper.")
    facts = guard(Source("m", "facts", subject="Tove Brandt", facts=(filed,)))
    hold = facts.stream(Asked("hello", "hello", touched=frozenset("m")))
    shown = "".join([*map(hold.feed, answer), hold.finish()])
    assert shown == (answer if released is None else released)


@pytest.mark.parametrize("word", ["beekeeper", "nurse"])
def test_what_a_fact_is_told_with_is_not_the_fact(word):
    """Of "works as a nurse" the nurse is: another's answer has the rest of it, once the subject was named."""
    filed = ("What does Tove Brandt do for a living?", f"Tove Brandt works as a {word}.")
    facts = guard(Source("m", "facts", subject="Tove Brandt", facts=(filed,)))
    for question, answer, told in (
        ("Who is Tove Brandt?", f"Tove Brandt is a {word} who lives in Arden.", True),
        ("Who is Tove Brandt?", "Tove Brandt lives in Arden.", False),
        ("I know Tove Brandt. What does Hal Moor do for a living?", "Hal Moor works as a tailor.", False),
    ):
        hold = facts.stream(Asked(question, question))
        assert ("".join([*map(hold.feed, answer), hold.finish()]) != answer) is told
