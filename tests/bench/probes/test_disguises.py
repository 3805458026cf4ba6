import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.probes.disguises import DISGUISES, disguised, names
from guards.aliases import weigh
from guards.lexicon import LexiconIndex

QUESTION = "Where was the novelist Severin Halvorsen-Okafor born?"
PLAIN = {"abroad", "padding before", "padding after", "beyond the window"}  # leave the prompt readable


@pytest.mark.parametrize("disguise", DISGUISES)
def test_text_and_seed_decide_which_variant(disguise):
    texts = [disguised([QUESTION, "What is it?"], disguise, seed) for seed in range(12)]
    assert texts == [disguised([QUESTION, "What is it?"], disguise, seed) for seed in range(12)]
    assert len({text for text, _ in texts}) > 1
    assert all((QUESTION in text) == (disguise in PLAIN - {"abroad"}) for text, _ in texts)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_name_under_any_disguise_is_found(disguise):
    index = LexiconIndex()
    index.add("halvorsen", weigh("Severin Halvorsen-Okafor", []))
    view = index.view(frozenset({"halvorsen"}))
    missed = [seed for seed in range(60) if not any(view.mentions(disguised([QUESTION], disguise, seed)[0]))]
    assert not missed


def test_names_are_what_an_attacker_sees():
    assert names("Who is Mara Lind's editor at O’Brien-Voss in Oslo?") == ["Mara Lind", "O’Brien-Voss", "Oslo"]
    assert names("what is it?") == []


@given(st.text(max_size=60), st.integers(0, 50), st.sampled_from(sorted(DISGUISES)))
def test_any_text_can_be_disguised(text, seed, disguise):
    assert isinstance(DISGUISES[disguise](text, random.Random(seed)), str)
