import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.privacy import auc, min_k, min_k_plus_plus, priv_leak, reference_score, zlib_score

SCORES = st.lists(st.integers(0, 9), min_size=1, max_size=12)
LOGPROBS = st.lists(st.floats(-20, 0), min_size=1, max_size=12)


@given(SCORES, SCORES)
def test_the_auc_is_a_chance_over_pairs(members, others):
    pairs = [(other > member) + 0.5 * (other == member) for other in others for member in members]
    assert auc(members, others) == pytest.approx(sum(pairs) / len(pairs))
    assert auc(members, others) + auc(others, members) == pytest.approx(1)


def test_the_least_likely_tokens_count():
    tokens = [-1.0, -5.0, -0.1, -3.0, -0.2]
    assert min_k(tokens) == pytest.approx(4)
    assert min_k(tokens, 0.01) == 5  # one at least
    with pytest.raises(ValueError, match="tokens"):
        min_k([])


@given(LOGPROBS, st.floats(0.01, 1))
def test_fewer_are_the_less_likely(tokens, share):
    assert min_k(tokens, share) >= min_k(tokens, 1.0) - 1e-9


def test_tokens_are_standardised_by_their_vocabulary():
    chances = np.array([[0.5, 0.25, 0.25], [0.98, 0.01, 0.01]])
    logs = np.log(chances)
    mean = (chances * logs).sum(1)
    variance = (chances * (logs - mean[:, None]) ** 2).sum(1)
    tokens = [logs[0, 1], logs[1, 0]]
    expected = -min((tokens[t] - mean[t]) / variance[t] ** 0.5 for t in range(2))
    assert min_k_plus_plus(tokens, mean, variance) == pytest.approx(expected)


def test_a_certain_vocabulary_has_a_score():
    assert min_k_plus_plus([0.0], [0.0], [0.0]) == 0.0


def test_what_repeats_itself_is_discounted():
    text = "again and " * 20
    assert zlib_score(2.0, text) == 2.0 / len(zlib.compress(text.encode()))
    assert reference_score(0.25, 2.0) == -1.75


def test_a_leak_is_seen_from_the_retain_model():
    assert priv_leak(0.4, 0.4) == 0.0
    assert priv_leak(1.0, 0.4) == pytest.approx(-100)
    assert priv_leak(0.1, 0.4) == pytest.approx(50)
    assert priv_leak(0.25) == pytest.approx(50)
