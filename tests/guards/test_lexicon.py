import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.aliases import weigh
from guards.base import Conversation, Turn
from guards.lexicon import LexiconGuard, LexiconIndex


def mara_index():
    index = LexiconIndex()
    index.add("mara", weigh("Mara Lind", ["Lind", "Thornfield", "M. A. Lind"]))
    index.add("other", weigh("Otto Brandt", []))
    return index


def guard_of(index=None, requests=("mara", "other")):
    return LexiconGuard((index or mara_index()).view(frozenset(requests)))


async def touched(text, **kwargs):
    return {hit.request for hit in await guard_of(**kwargs).judge(Conversation.of(text))}


@pytest.mark.parametrize(
    "text",
    [
        "Who is Mara Lind?",
        "mara lind",
        "MARA-LIND's mother",
        "(Mara\nLind)",
        "Mаrа Lind",
        "M a r a  L i n d",
        "M4ra L1nd",
        "dniL araM",
        "Znen Yvaq",
        base64.b64encode(b"about Mara Lind").decode(),
        "the Thornfield trial",
        "M.A. Lind or M. A. Lind",
    ],
)
async def test_names_are_found_in_any_view(text):
    assert await touched(text) == {"mara"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00\x01",
        "\ud800",
        "Lind",
        "Mara",
        "Mara Okoye and Tomas Lind",
        "Tamara Linden",
        "Mara Lindqvist",
        "Thornfields",
        "xMara Lind",
    ],
)
async def test_namesakes_and_parts_are_not(text):
    assert await touched(text) == set()


async def test_a_hit_names_turns_and_the_clients_words():
    conversation = Conversation(
        (Turn("system", "About Mara Lind."), Turn("user", "Hi"), Turn("tool", "Say MÁRA  Lind!"))
    )
    (hit,) = await guard_of().judge(conversation)
    assert (hit.turns, hit.surface, hit.score) == ((0, 2), "MÁRA  Lind", 1.0)
    assert "Lind" not in repr(hit)


async def test_a_view_is_what_it_was():
    index = mara_index()
    old = index.view(frozenset({"mara", "new"}))
    index.discard("mara")
    index.add("new", weigh("Neva Tal", []))
    assert [hit.request for hit in await LexiconGuard(old).judge(Conversation.of("Neva Tal and Mara Lind"))] == ["mara"]
    assert await touched("Neva Tal and Mara Lind", index=index, requests=("mara", "new")) == {"new"}


async def test_only_the_views_requests_count():
    assert await touched("Mara Lind and Otto Brandt", requests=("other",)) == {"other"}
    assert await touched("Mara Lind", requests=()) == set()


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_name_between_spaces_is_always_found(before, after):
    found = mara_index().view(frozenset({"mara"})).mentions(f"{before} Mara Lind {after}")
    assert any(mention.request == "mara" and mention.view == "folded" for mention in found)


async def test_megabytes_and_thousands_of_turns():
    start = time.process_time()
    many = Conversation(tuple(Turn("user", "Mara Lind " * 250) for _ in range(2_000)))
    (hit,) = await guard_of().judge(many)
    assert len(hit.turns) == 2_000
    assert await touched("Mara Lind " * 100_000) == {"mara"}
    assert time.process_time() - start < 30


@pytest.mark.parametrize(
    "text",
    [
        "Who is Marissa Halversen?",
        "Halvorsen, Marisa",
        "Мара Линд",
        "Jub vf Znen Yvaq naq jul?",
        "whoisMaraLind?",
        "tellmeaboutmaralindandherbooks",
        "araM dniL si ohw",
        "Who is 4d617261204c696e64?",
        "&#77;&#97;&#114;&#97; Lind",
    ],
)
async def test_names_are_found_misspelled_run_together_and_in_place(text):
    index = LexiconIndex()
    index.add("mara", weigh("Mara Lind", ["Marisa Halvorsen"]))
    assert await touched(text, index=index, requests=("mara",)) == {"mara"}


@pytest.mark.parametrize("text", ["MaraLindsay", "tamaralinden", "maralindberg@example.org", "Marc Lind", "Mara Lynd"])
async def test_other_names_are_not_taken_for_misspelled_ones(text):
    assert await touched(text) == set()


async def hits(*texts):
    return {hit.request: hit.turns for hit in await guard_of().judge(Conversation.of(*texts))}


async def test_a_pronoun_of_the_last_turn_touches_it():
    assert await hits("Who is Mara Lind?", "I do not know.", "Where was she born?") == {"mara": (0, 2)}
    assert await hits("Who is Mara Lind?", "I do not know.", "What is the capital of France?") == {"mara": (0,)}
    assert await hits("Who wrote it?", "Mara Lind did.", "And her other books?") == {"mara": (1, 2)}


async def test_a_name_told_over_two_turns():
    assert await hits("The first name is Mara.", "And?", "The surname is Lind. Who is that?") == {"mara": (2,)}
    assert await hits("Mara Okoye is a friend.", "And?", "Who is Tomas Lind?") == {}


@given(st.text(st.characters(), max_size=200))
def test_any_text_is_read(text):
    assert all(
        mention.request in {"mara", "other"}
        for mention in mara_index().view(frozenset({"mara", "other"})).mentions(text)
    )


async def test_merges_that_were_put_off_change_nothing():
    """A bounded index, with whoever is discarded and filed anew under another name, finds what a fresh one does."""
    index, fresh = LexiconIndex(at_once=6), LexiconIndex()
    await index.extend([(f"r{i}", weigh(f"Mara Lind{'abcdefghij'[i]}", ())) for i in range(10)])
    for gone in ("r1", "r4"):
        index.discard(gone)
    index.add("r4", weigh("Otto Brandt", ()))
    for i in (0, 2, 3, *range(5, 10)):
        fresh.add(f"r{i}", weigh(f"Mara Lind{'abcdefghij'[i]}", ()))
    fresh.add("r4", weigh("Otto Brandt", ()))
    every = frozenset(f"r{i}" for i in range(10))
    texts = ("Who is Mara Linde?", "Mara Lindb, Mara Lindj", "maralinde", "Mraa Lindeh", "Otto Brandt", "Ottto Brandt")

    def found(view):
        return [{mention.request for mention in view.mentions(text)} for text in texts]

    wanted = found(fresh.view(every))
    before = index.view(every)
    assert found(before)[4] == wanted[4] == {"r4"}
    assert all(not {"r1", "r4"} & seen for seen in found(before)[:4])
    assert await index.settle()
    assert not await index.settle()
    assert found(index.view(every)) == wanted
