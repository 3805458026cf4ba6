import pytest

from guards.aliases import Alias
from guards.lexicon import LexiconIndex
from guards.names import GAP, NameWatch
from guards.text import fold
from guards.watch import Splitter


def view(*names, active=None):
    index = LexiconIndex()
    for i, name in enumerate(names):
        index.add(str(i), [Alias(name, strong=True)])
    return index.view(frozenset(map(str, range(len(names)))) if active is None else active)


def first(text, *names):
    """(start, request) of what is found, one character at a time."""
    splitter, watch = Splitter(), NameWatch(view(*names))
    for char in fold(text):
        if found := watch.read(splitter.push(char)):
            return found.start, found.request
        assert splitter.at - watch.safe <= (GAP + 2) * 20
    found = watch.read(splitter.push("", last=True))
    return found and (found.start, found.request)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("it is Mara Lind, yes", 6),
        ("it is mara-lind", 6),
        ("M a r a L i n d", 0),
        ("so M.a.r.a. L.i.n.d!", 3),
        ("so MaraLind", 3),
        ("m4ra l1nd", 0),
        ("**M** **a** **r** **a** **L** **i** **n** **d**", 2),
        ("Maralinda", None),
        ("Mara Lindqvist", None),
        ("Tamara Lind", None),
        ("Mara ............ Lind", None),
        ("Mara Mara Lind", 5),
    ],
)
def test_both_readings(text, start):
    assert first(text, "Mara Lind") == (None if start is None else (start, "0"))


def test_an_everyday_word_is_not_a_name_without_its_space():
    assert first("and another thing", "Ann Other") is None
    assert first("it is Ann Other", "Ann Other") == (6, "0")
    assert first("it is A n n O t h e r", "Ann Other") == (6, "0")


def test_the_name_that_ends_first_is_found():
    assert first("so Mara Lind Berg", "Mara Lind Berg", "Lind Berg") == (3, "0")
    assert first("so Mara Lind Berg", "Mara Lind Berg", "Mara Lind") == (3, "1")


def test_names_of_others_are_not_looked_for():
    splitter, watch = Splitter(), NameWatch(view("Mara Lind", "Ada Quill", active=frozenset({"1"})))
    assert watch.read(splitter.push("mara lind and ")) is None
    assert watch.read(splitter.push("ada quill.")).request == "1"


@pytest.mark.parametrize(
    ("before", "text", "tells"),
    [
        ("It was ", "Mara", True),
        ("It was ", "Mar", False),
        ("It was Mara", " Li", True),
        ("It was Mara", " Lo", False),
        ("It was Mara", " Lind", True),
        ("It was Tamara", " Lind", False),
        ("", "the", False),
    ],
)
def test_alternatives_that_tell(before, text, tells):
    assert NameWatch(view("Mara Lind")).tells(before, text) is tells


def test_reading_is_linear_however_many_beginnings_there_are():
    """The places that are asked grow with the text, not with its square: 200 beginnings overlap all the time."""
    name = " ".join(["a"] * 100 + ["b"])
    watch, splitter, asked = NameWatch(view(name)), Splitter(), 0

    class Counting:
        def __init__(self, automaton):
            self.automaton = automaton

        def match(self, text):
            nonlocal asked
            asked += 1
            return self.automaton.match(text)

        def iter(self, text):
            return self.automaton.iter(text)

    watch._folded._automata = [Counting(one) for one in watch._folded._automata]
    for _ in range(3_000):
        watch.read(splitter.push("a "))
    assert asked < 4 * 6_000
    assert splitter.at - watch.safe <= len(name)
