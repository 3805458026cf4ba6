import math

import pytest

from bench.report.cells import cell, number, within


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (0.12345, "0.1235"),
        (2.7e-36, "2.7e-36"),
        (36909.4, "36,909"),
        (32173670, "32,173,670"),
        (407, "407"),
        (None, "not known"),
        (math.nan, "not known"),
        (-math.inf, "not known"),
    ],
)
def test_numbers_have_four_digits(value, shown):
    assert number(value) == shown


def test_a_share_has_its_interval_and_its_counts():
    share = {"hits": 2, "of": 407, "value": 2 / 407, "low": 0.00135, "high": 0.01774}
    assert cell(share) == "0.49 % (0.14 to 1.77), 2 of 407"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        ([], ""),
        ({}, ""),
        (False, "no"),
        (0, "0"),
        ("eco", "eco"),
        ([1, 2.5], "1, 2.5"),
        ({"value": 0.5, "low": 0, "high": 1}, "0.5 (0 to 1)"),
        ({"uld, enforced": 4}, "uld, enforced 4"),
    ],
)
def test_any_value_is_a_cell(value, shown):
    assert cell(value) == shown


def test_an_interval_stands_behind_its_number():
    assert within(1.5, 1, 2) == "1.5 (1 to 2)"
    assert within(1.5, None, 2) == "1.5 (not known to 2)"
    assert within(1.5, math.nan, None) == "1.5"
