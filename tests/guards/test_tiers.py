import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.base import GuardError
from guards.tiers import Tiers


def everything(tiers):
    return sorted(entry for tier in tiers.tiers for entry in tier.segment)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=60))
def test_a_dictionary_in_segments(moves):
    tiers, model = Tiers(tuple), {}
    for adding, key in moves:
        name = str(key)
        if adding and name not in model:
            tiers.add(name, key)
            model[name] = key
        elif not adding:
            before, seen = tiers.tiers, everything(tiers)
            tiers.discard(name)
            model.pop(name, None)
            assert sorted(entry for tier in before for entry in tier.segment) == seen
    assert everything(tiers) == sorted(model.items())


def test_adding_costs_little_however_many_there_are():
    built = 0

    def build(entries):
        nonlocal built
        built += len(entries)

    tiers = Tiers(build)
    for i in range(1024):
        tiers.add(str(i), i)
    assert built <= 1024 * 11
    assert len(tiers.tiers) <= 11


def test_adding_twice_is_an_error():
    tiers = Tiers(tuple)
    tiers.add("a", 1)
    with pytest.raises(GuardError):
        tiers.add("a", 2)
