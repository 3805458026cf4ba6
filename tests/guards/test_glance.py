"""A glance finds what reading a request's texts word for word does, one by one and in lists."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guards.glance import Glance, Lists
from guards.knowledge import FEATURES, Knowledge
from guards.reading import Text

WORDS = re.findall(
    r"\w+",
    "Mara Lind Otto Brandt The Of Who Glass Harbour Varn singer artist born the a wrote says Amber Prize won Rings "
    "1990 in and Lord quartz bread baker is was he",
)
NAMES = ("Mara Lind", "Otto", "The Lord of the Rings", "Of The", "Brandt", "The Who", "Quartz")

texts = st.builds(
    lambda said, quoted, end: " ".join(said) + (f' "{" ".join(quoted)}"' if quoted else "") + end,
    st.lists(st.sampled_from(WORDS), max_size=12),
    st.lists(st.sampled_from(WORDS), max_size=3),
    st.sampled_from(["", "?", ". Who?", "'s harbour."]),
)
knowing = st.builds(
    Knowledge.of,
    st.lists(st.sampled_from(NAMES), max_size=2),
    st.lists(texts, max_size=4),
    st.lists(texts, max_size=4),
)


@given(texts, knowing)
@settings(max_examples=200, deadline=None)
def test_a_glance_is_the_evidence_where_it_suffices(text, known):
    glance = Glance.of(Text(text).reading)
    if glance.suffices(known):
        read = [*map(float, known.evidence(Text(text).reading))]
        assert [*map(float, glance.evidence(known))] == pytest.approx(read, abs=1e-9)


@given(texts, st.lists(st.one_of(st.none(), knowing), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_lists_are_as_many_glances(text, some):
    glance, lists = Glance.of(Text(text).reading), Lists.of(some)
    suffices = lists.suffices(glance)
    assert suffices.tolist() == [glance.suffices(known) for known in some]
    found = lists.evidence(glance)
    assert found.shape == (len(some), len(FEATURES))
    for known, apart, row in zip(some, suffices.tolist(), found, strict=True):
        if apart and known is not None:
            assert row.tolist() == pytest.approx([*map(float, glance.evidence(known))], abs=1e-5)


def test_what_holds_a_word_of_the_names_needs_more_than_a_glance():
    known = Knowledge.of(["Mara Lind"], ["Mara Lind sings."], [])
    for text, apart in (
        ("Who is Mara Lind?", False),
        ("Who is Lind?", False),
        ("Who is Tomas Brandt?", True),
        ("The Of is there", False),  # links alone: a name may consist of them
        ("how do I bake bread", True),
    ):
        assert Glance.of(Text(text).reading).suffices(known) is apart
    assert not Glance.of(Text("how do I bake bread").reading).suffices(None)


def test_evidence_tells_requests_apart():
    one = Knowledge.of(["Mara Lind"], ["The Glass Harbour was won in Varn."], [])
    other = Knowledge.of(["Otto Brandt"], ["Bread is baked."], [])
    glance = Glance.of(Text("What is told in The Glass Harbour?").reading)
    first, second = Lists.of([one, other]).evidence(glance)
    best, strangers = FEATURES.index("known"), FEATURES.index("strangers")
    assert first[best] > 0.0 == second[best]
    assert np.array_equal([first[strangers], second[strangers]], [0.0, 1.0])
