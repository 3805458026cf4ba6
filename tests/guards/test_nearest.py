import numpy as np
import pytest

from guards import nearest
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


def search(index, query, limit):
    """Both steps: the rows that may reach a limit, and the cosines of those that do."""
    rows, most = index.suggest(query, limit)
    cosines = index.cosines(query, rows)
    assert (cosines <= most + index.error).all() or index.recall < 1.0
    reached = cosines >= limit - index.error
    return rows[reached], cosines[reached]


@pytest.mark.parametrize("kind", [Flat, Hashed])
@pytest.mark.parametrize("limit", [0.55, 0.7, 0.8])
def test_all_that_reach_the_limit_are_found(kind, limit):
    rows, queries = clustered(3_000), clustered(20, seed=1)
    index = kind(blocks(rows))
    exact = queries @ rows.astype(np.float16).astype(np.float32).T
    wanted = found = 0
    for query, cosines in zip(queries, exact, strict=True):
        places, likeness = search(index, query, limit)
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
        places, likeness = search(kind(blocks(rows)), -rows[0], 0.6)
        assert len(places) == len(likeness) == 0


def test_a_row_is_found_by_itself_whatever_the_number_of_rows():
    rows = clustered(50)
    for count in (1, 2, 50):
        for kind in (Flat, Hashed):
            places, likeness = search(kind([rows[:count]]), rows[count - 1], 0.99)
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
        places, _ = search(index, query, 0.7)
        assert (cosines[places] >= 0.7).sum() >= 0.99 * (cosines >= 0.7).sum()


def test_what_is_few_stays_exact():
    rows = clustered(EXACT + 1)
    assert isinstance(build([rows[:EXACT]]), Flat)
    assert isinstance(build([rows[:EXACT], rows[EXACT:]]), Hashed)


def test_two_builds_are_one():
    rows, query = clustered(2_000), clustered(1, seed=5)[0]
    first, second = Hashed([rows]), Hashed(list(np.split(rows, 10)))
    for one, other in zip(search(first, query, 0.6), search(second, query, 0.6), strict=True):
        assert np.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("kind", [Flat, Hashed])
def test_what_rows_do_not_exceed_is_the_same_asked_for_or_suggested(kind):
    rows, queries = clustered(3_000), clustered(20, seed=1)
    index = kind(blocks(rows))
    some = np.random.default_rng(2).permutation(3_000)[:700]
    exact = queries @ rows.astype(np.float16).astype(np.float32).T
    exceeded = 0
    for query, cosines in zip(queries, exact, strict=True):
        most = index.most(query, some)
        exceeded += int((cosines[some] > most + 2 * index.error).sum())
        suggested, bounds = index.suggest(query, 0.5)
        told = np.full(3_000, -2.0, np.float32)
        told[suggested] = bounds
        both = told[some] > -2.0
        assert both.any()
        assert np.allclose(told[some][both], most[both], atol=1e-5)
        assert (most[~both] < 0.5 + 1e-3).all()
    assert exceeded <= (1 - index.recall) * some.size * len(queries) + 1
    assert index.most(queries[0], some[:0]).shape == index.cosines(queries[0], some[:0]).shape == (0,)


def test_the_law_is_measured_from_the_lowest_cosine_that_is_searched(monkeypatch):
    """Where every pair lies just above it, a law that expects them nearer than they are is put right."""
    law = nearest._law
    monkeypatch.setattr(nearest, "_law", lambda cosines: (law(cosines)[0] - 200, law(cosines)[1]))
    share = nearest.LIKE + 0.02
    apart = np.sqrt(1 - share) * np.eye(200, dtype=np.float32)
    rows = np.hstack([np.full((200, 1), np.sqrt(share), np.float32), apart]).astype(np.float32)
    found, _ = nearest.Hashed([rows]).suggest(rows[0], nearest.LIKE)
    assert len(found) == 200
