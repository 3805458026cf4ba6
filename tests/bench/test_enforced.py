import math

from bench.enforced import as_asked


def test_what_another_method_enforces_or_nothing_does_is_told():
    assert as_asked([("eco", {"eco, enforced": 5}), ("o3", {"o3, enforced": 3})]).holds
    found = as_asked([("eco", {"eco, enforced": 4, "eco, failed": 1}), ("o3", {"eco, enforced": 5})], " of groups")
    assert (found.name, found.value, found.holds) == (
        "requests enforced by the method asked for, of all of groups",
        0.4,
        False,
    )


def test_of_nothing_nothing_is_enforced():
    none = as_asked([])
    assert math.isnan(none.value)
    assert not none.holds
