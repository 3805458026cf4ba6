import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.rouge import f1, recall

WORDS = st.lists(
    st.sampled_from(["she", "writes", "novels", "in", "a", "town", "by", "the", "sea"]), min_size=1, max_size=12
)


def test_the_longest_common_subsequence_counts():
    gold, said = "she writes novels in Ulm", "in Ulm she wrote some novel"  # "she … novel": two of five, of six
    assert recall(gold, said) == pytest.approx(2 / 5)
    assert f1(gold, said) == pytest.approx(2 * (2 / 5) * (2 / 6) / (2 / 5 + 2 / 6))


def test_what_is_added_costs_no_recall():
    assert recall("Paris", "It stands in Paris, France.") == 1.0
    assert f1("Paris", "It stands in Paris, France.") < 0.5


def test_other_scripts_are_not_seen():
    assert recall("Москва", "Москва") == 0.0


@given(WORDS, WORDS)
def test_both_are_shares(gold, said):
    some, own = " ".join(gold), " ".join(said)
    assert 0 <= f1(some, own) <= 1
    assert f1(some, own) == pytest.approx(f1(own, some))
    assert recall(some, f"{own} {some}") == 1.0
