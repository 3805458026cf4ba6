import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.base import GuardError
from guards.tiers import Tiers


def everything(tiers):
    """What those who honour `gone` see."""
    return sorted(entry for tier in tiers.tiers for entry in tier.segment if entry[0] not in tier.gone)


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
    assert not any(tier.gone for tier in tiers.tiers)


@given(
    st.lists(st.tuples(st.sampled_from(["add", "discard", "begin", "load", "end", "fail"]), st.integers(0, 15))),
    st.integers(1, 4),
)
def test_a_dictionary_while_merges_are_under_way(moves, at_once):
    tiers, model, merge, loading = Tiers(tuple, lambda value: 1 + value % 3, at_once), {}, None, ()
    for turn, (move, key) in enumerate(moves):
        name, entry = str(key), 16 * turn + key
        if move == "add" and name not in model and name not in dict(loading):
            tiers.add(name, entry)
            model[name] = entry
        elif move == "discard":
            for gone in (name, f"{name}/0"):
                tiers.discard(gone)
                model.pop(gone, None)
                loading = tuple(pair for pair in loading if pair[0] != gone)
        elif move == "begin" and merge is None:
            merge = tiers.due()
        elif move == "load" and merge is None:
            loading = tuple((f"{name}/{i}", turn) for i in range(3) if f"{name}/{i}" not in model)
            merge = tiers.load(loading)
        elif move in ("end", "fail") and merge is not None:
            if move == "end":
                tiers.finish(merge, merge.build())
                model.update(loading)
            else:
                tiers.abandon()
            merge, loading = None, ()
        assert everything(tiers) == sorted(model.items())
        assert sorted(pair for tier in tiers.tiers for pair in tier.entries) == sorted(model.items())
    if merge is not None:
        tiers.abandon()
    while (merge := tiers.due()) is not None:
        tiers.finish(merge, merge.build())
    weights = [tier.weight for tier in tiers.tiers]
    assert all(weight > sum(weights[i + 1 :]) for i, weight in enumerate(weights))


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


def test_nothing_heavier_than_at_once_is_built_by_adding():
    built = []
    tiers = Tiers(lambda entries: built.append(len(entries)), at_once=8)
    for i in range(100):
        tiers.add(str(i), i)
    assert max(built) == 8
    tiers.finish(merge := tiers.due(), merge.build())
    assert max(built) > 90
    assert len(tiers.tiers) <= 4


def test_what_is_light_together_is_one_when_merges_are_done():
    tiers = Tiers(tuple, at_once=16, light=64)
    for i in range(100):
        tiers.add(str(i), i)
    assert len(tiers.tiers) > 2
    while (merge := tiers.due()) is not None:
        tiers.finish(merge, merge.build())
    weights = [tier.weight for tier in tiers.tiers]
    assert everything(tiers) == sorted((str(i), i) for i in range(100))
    assert all(sum(weights[i:]) > 64 for i in range(len(weights) - 1))


def test_what_is_mostly_gone_is_built_again():
    tiers = Tiers(tuple, at_once=2)
    tiers.finish(merge := tiers.load((str(i), i) for i in range(8)), merge.build())
    for i in range(3):
        tiers.discard(str(i))
    assert everything(tiers) == [(str(i), i) for i in range(3, 8)]
    assert len(tiers.tiers[0].segment) == 8
    tiers.finish(merge := tiers.due(), merge.build())
    assert len(tiers.tiers[0].segment) == 5
    assert tiers.due() is None


def test_adding_twice_is_an_error():
    tiers = Tiers(tuple)
    tiers.add("a", 1)
    with pytest.raises(GuardError):
        tiers.add("a", 2)
    with pytest.raises(GuardError):
        tiers.load([("b", 1), ("a", 2)])
    with pytest.raises(GuardError):
        tiers.load([("b", 1), ("b", 2)])
    tiers.add("b", 1)
