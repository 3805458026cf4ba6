import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.base import Rules
from gateway.engines.sampling import Drawer, distribution, draw

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, -40.0])


def kept(**rules):
    row = distribution(LOGITS[None], [Rules(**rules)])[0]
    return [i for i, chance in enumerate(row.tolist()) if chance > 0]


def drawer_of(index=0, seed=None, **rules):
    return Drawer(Rules(**rules), seed, index)


def draws(count, logits=LOGITS, **rules):
    drawer = drawer_of(**rules)
    return [draw(logits.clone()[None], [drawer])[0] for _ in range(count)]


def test_each_filter_keeps_what_it_says():
    assert kept(top_k=2) == [0, 1]
    assert kept(top_k=99) == [0, 1, 2, 3, 4]
    # softmax: .644 .237 .087 .032
    assert kept(top_p=0.5) == [0]
    assert kept(top_p=0.65) == [0, 1]
    assert kept(top_p=0.9) == [0, 1, 2]
    assert kept(top_p=0.0) == [0]
    assert kept(min_p=0.3) == [0, 1]
    assert kept(top_k=3, top_p=0.7, min_p=0.01) == [0, 1]


def test_a_filter_of_one_row_leaves_the_others():
    rules = [Rules(), Rules(top_k=1), Rules(top_p=0.1), Rules(min_p=0.9), Rules(temperature=2.0)]
    together = distribution(LOGITS.repeat(5, 1), rules)
    for row, rule in zip(together, rules, strict=True):
        assert torch.equal(row, distribution(LOGITS[None], [rule])[0])


def test_draws_follow_the_distribution():
    found = torch.bincount(torch.tensor(draws(4000, seed=7, temperature=2.0)), minlength=5) / 4000
    assert torch.allclose(found, (LOGITS / 2).softmax(-1), atol=0.03)


def test_temperature_zero_is_the_likeliest():
    assert draws(20, temperature=0.0) == [0] * 20
    assert draws(20, temperature=1e-6) == [0] * 20


def test_seeds_repeat_and_differ_by_choice():
    logits = torch.zeros(50)
    assert draws(30, logits, seed=3) == draws(30, logits, seed=3)
    assert draws(30, logits, seed=3) != draws(30, logits, seed=4)
    drawers = [drawer_of(index, seed=3) for index in range(2)]
    rows = [draw(torch.zeros(2, 50), drawers) for _ in range(30)]
    first, second = zip(*rows, strict=True)
    assert list(first) == draws(30, logits, seed=3)
    assert list(second) == draws(30, logits, seed=4)
    assert draws(30, logits) != draws(30, logits)


@pytest.mark.parametrize("seed", [-1, 0, 2**63 - 1, 2**64, -(2**63)])
def test_any_whole_number_is_a_seed(seed):
    assert draws(3, seed=seed) == draws(3, seed=seed)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=30), st.integers(0, 99), st.integers(1, 5))
def test_a_filtered_token_is_never_drawn(values, seed, top_k):
    logits = torch.tensor(values)
    rule = Rules(top_k=top_k, top_p=0.8)
    allowed = distribution(logits[None], [rule])[0]
    for token in draws(10, logits, seed=seed, top_k=top_k, top_p=0.8):
        assert allowed[token] > 0


def test_penalties_count_what_was_drawn():
    logits = torch.tensor([1.0, 0.8, 0.5])
    assert draws(4, logits, temperature=0.0, presence_penalty=0.3) == [0, 1, 0, 0]
    assert draws(4, logits, temperature=0.0, frequency_penalty=0.25) == [0, 1, 0, 1]
    assert draws(3, logits, temperature=0.0, repetition_penalty=1.5) == [0, 1, 0]
    below = torch.tensor([-1.0, -1.2])
    assert draws(2, below, temperature=0.0, repetition_penalty=1.5) == [0, 1]


def test_impossible_tokens_stay_impossible():
    logits = torch.tensor([0.0, -torch.inf, 0.0])
    assert 1 not in draws(200, logits, seed=1, repetition_penalty=1.2)
