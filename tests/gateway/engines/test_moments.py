import pytest
import torch

from gateway.engines.job import moments


def test_moments_are_those_of_the_log_probability_over_the_vocabulary():
    known = torch.tensor([0.5, 0.25, 0.25]).log()
    mean, variance = moments(known + 3.0)
    assert mean == pytest.approx(float((known.exp() * known).sum()))
    assert variance == pytest.approx(float((known.exp() * (known - mean) ** 2).sum()), abs=1e-6)


def test_a_token_without_a_chance_counts_for_nothing():
    assert moments(torch.tensor([0.0, float("-inf")])) == (0.0, 0.0)
