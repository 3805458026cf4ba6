import pytest

from bench.tofu.marks import Known, Utility, groups, quality


def known(level):
    return Known(
        tuple(f"{i // 4}" for i in range(40)),
        tuple(level + (i // 4) / 100 for i in range(40)),
        (level,) * 40,
        (1 - level,) * 40,
    )


def test_few_authors_are_not_drawn_anew():
    assert groups(["a", "a", "b"]) == range(3)
    assert groups([*"abcde"]) == [*"abcde"]


def test_few_questions_have_no_forget_quality():
    assert quality([0.1] * 39, [0.9] * 39) is None
    assert quality([0.1] * 40, [0.9] * 40) < 1e-9


def test_utility_lies_in_its_interval():
    utility = Utility(known(0.8), known(0.7), known(0.6))
    found = utility.interval()
    assert found.mean == pytest.approx(utility.value)
    assert found.low < found.mean < found.high
