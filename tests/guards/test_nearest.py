import numpy as np
import pytest

from guards.nearest import EXACT, Flat, Hashed, build

DIM = 64


def clustered(count, seed=0, width=0.7):
    """Unit rows around forty centres that share a direction, as sentences do."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).standard_normal((40, DIM)) + 0.8
    rows = centres[rng.integers(40, size=count)] + width * rng.standard_normal((count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def blocks(rows):
    """In uneven pieces of half precision, as requests hold them."""
    halves = rows.astype(np.float16)
    return [part for part in np.split(halves, [1, 7, 8, len(rows) // 2]) if len(part)]


@pytest.mark.parametrize("kind", [Flat, Hashed])
@pytest.mark.parametrize("limit", [0.55, 0.7, 0.8])
def test_all_that_reach_the_limit_are_found(kind, limit):
    rows, queries = clustered(3_000), clustered(20, seed=1)
    index = kind(blocks(rows))
    exact = queries @ rows.astype(np.float16).astype(np.float32).T
    wanted = found = 0
    for query, cosines in zip(queries, exact, strict=True):
        places, likeness = index.search(query, limit)
        assert len(set(places.tolist())) == len(places)
        assert np.abs(likeness - cosines[places]).max(initial=0.0) <= index.error
        assert (cosines[places] >= limit - 2 * index.error).all()
        wanted += int((cosines >= limit).sum())
        found += int((cosines[places] >= limit).sum())
    assert found >= index.recall * wanted - 1
    assert index.recall >= 0.999
    assert wanted > 0
    assert index.rows == 3_000


def test_nothing_is_found_where_nothing_is_like():
    for kind in (Flat, Hashed):
        rows = clustered(300)
        places, likeness = kind(blocks(rows)).search(-rows[0], 0.6)
        assert len(places) == len(likeness) == 0


def test_a_row_is_found_by_itself_whatever_the_number_of_rows():
    rows = clustered(50)
    for count in (1, 2, 50):
        for kind in (Flat, Hashed):
            places, likeness = kind([rows[:count]]).search(rows[count - 1], 0.99)
            assert count - 1 in places
            assert likeness.max() == pytest.approx(1.0, abs=0.03)


def test_signs_that_tell_little_are_searched_harder():
    """Rows along a few axes: projections of near neighbours differ less evenly than the law has it."""
    rng = np.random.default_rng(3)
    rows = np.zeros((4_000, DIM), np.float32)
    rows[np.arange(4_000), rng.integers(2, size=4_000)] = 1.0
    rows[:, 2] = rng.uniform(0.2, 0.9, 4_000)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index = Hashed([rows])
    for query in rows[:10]:
        cosines = rows @ query
        places, _ = index.search(query, 0.7)
        assert (cosines[places] >= 0.7).sum() >= 0.99 * (cosines >= 0.7).sum()


def test_what_is_few_stays_exact():
    rows = clustered(EXACT + 1)
    assert isinstance(build([rows[:EXACT]]), Flat)
    assert isinstance(build([rows[:EXACT], rows[EXACT:]]), Hashed)


def test_two_builds_are_one():
    rows, query = clustered(2_000), clustered(1, seed=5)[0]
    first, second = Hashed([rows]), Hashed(list(np.split(rows, 10)))
    for one, other in zip(first.search(query, 0.6), second.search(query, 0.6), strict=True):
        assert np.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("kind", [Flat, Hashed])
def test_every_row_has_a_limit_of_its_own(kind):
    rows, queries = clustered(3_000), clustered(20, seed=1)
    index = kind(blocks(rows))
    limits = np.random.default_rng(2).uniform(0.55, 0.9, len(rows)).astype(np.float32)
    exact = queries @ rows.astype(np.float16).astype(np.float32).T
    wanted = found = 0
    for query, cosines in zip(queries, exact, strict=True):
        places, likeness = index.search(query, 0.55, lambda rows: limits[rows])
        assert np.abs(likeness - cosines[places]).max(initial=0.0) <= index.error
        wanted += int((cosines >= limits).sum())
        found += int((cosines[places] >= limits[places]).sum())
    assert found >= index.recall * wanted - 1
    assert wanted > 100


def test_of_those_that_nobody_needs_the_likeliest_are_found():
    rows, query = clustered(3_000), clustered(1, seed=1)[0]
    index = Hashed([rows])
    none, _ = index.search(query, 0.5, lambda rows: np.full(len(rows), 2.0, np.float32))
    assert len(none) == 0
    some, cosines = index.search(query, 0.5, lambda rows: np.full(len(rows), 2.0, np.float32), likely=40)
    everyone, _ = index.search(query, 0.5)
    assert 30 <= len(some) < len(everyone)
    exact = np.sort(rows @ query)[::-1]
    assert cosines.mean() > exact[: len(everyone)].mean()
    assert len(set(some.tolist())) == len(some)
