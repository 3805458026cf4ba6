import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guards import gpu, nearest
from guards.gpu import Topmost, available, on_gpu
from guards.nearest import Flat, Hashed

DIM = 48


class Ranks:
    """An index that only ranks, as one on a GPU does, and remembers how many rows it was asked for."""

    def __init__(self, rows):
        self._rows, self.asked = rows, []

    def search(self, vectors, k):
        assert k <= 2_048
        self.asked.append(k)
        products = vectors @ self._rows.T
        order = np.argsort(-products, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(products, order, axis=1), order


def unit(count, seed, around=0.0):
    rows = np.random.default_rng(seed).standard_normal((count, DIM)) + around
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@given(
    st.integers(1, 400), st.integers(0, 1_000), st.sampled_from([0.0, 0.5, 1.5]), st.sampled_from([-1.0, 0.3, 0.6, 0.9])
)
@settings(max_examples=40, deadline=None)
def test_ranks_find_what_brute_force_does(count, seed, around, limit):
    rows, (query,) = unit(count, seed, around), unit(1, seed + 1, around)
    index = Topmost(Ranks(rows), Flat([rows]))
    found, most = index.suggest(query, limit)
    exact = rows @ query
    assert set(np.flatnonzero(exact >= limit).tolist()) <= set(found.tolist())
    assert len(set(found.tolist())) == len(found)
    assert (exact[found] <= most).all()
    assert np.allclose(index.cosines(query, found), exact[found], atol=1e-5)
    assert index.rows == count


def test_no_more_ranks_are_asked_for_than_needed():
    rows, (query,) = unit(5_000, 1, 0.7), unit(1, 2, 0.7)
    limits = np.sort(rows @ query)[::-1]
    for wanted, asked in ((10, [64]), (100, [64, 512]), (1_500, [64, 512, 2_048])):
        ranks = Ranks(rows)
        found, _ = Topmost(ranks, Flat([rows])).suggest(query, float(limits[wanted]))
        assert ranks.asked == asked
        assert set(np.argsort(-(rows @ query))[:wanted].tolist()) <= set(found.tolist())


@pytest.mark.parametrize("kind", [Flat, Hashed])
def test_beyond_what_ranks_reach_the_other_index_answers(kind):
    rows, (query,) = unit(5_000, 1, 0.7), unit(1, 2, 0.7)
    beyond = kind([rows])
    found, most = Topmost(Ranks(rows), beyond).suggest(query, 0.1)
    expected, bounds = beyond.suggest(query, 0.1)
    assert len(found) > 2_048
    assert np.array_equal(found, expected)
    assert np.array_equal(most, bounds)


def test_rows_go_where_a_gpu_is_and_small_ones_stay(monkeypatch):
    taken = []
    monkeypatch.setattr(gpu, "on_gpu", lambda blocks, beyond: taken.append(beyond) or beyond)
    rows = unit(gpu.FEWEST, 3)
    nearest.build([rows])
    assert taken == []  # no GPU, or none that this FAISS knows
    monkeypatch.setattr(gpu, "available", lambda: True)
    nearest.build([rows[:-1]])
    assert taken == []
    nearest.build([rows[:100], rows[100:]])
    assert len(taken) == 1


def test_a_gpu_without_room_leaves_the_rows_on_the_cpu(monkeypatch, caplog):
    def full(*_):
        raise RuntimeError("out of memory: 'Mara Lind'")

    monkeypatch.setattr(faiss, "GpuIndexFlatIP", full, raising=False)
    monkeypatch.setattr(gpu, "_device", lambda: gpu._Device(None))
    rows = unit(100, 4)
    beyond = Flat([rows])
    assert on_gpu([rows], beyond) is beyond
    assert "stay on the CPU" in caplog.text
    assert "Lind" not in caplog.text


def test_a_search_that_fails_on_the_gpu_is_done_on_the_cpu(caplog):
    class Failing:
        def search(self, vectors, k):
            raise RuntimeError("CUDA error: 'Mara Lind'")

    rows, (query,) = unit(100, 7), unit(1, 8)
    beyond = Flat([rows])
    index = Topmost(Failing(), beyond)
    gpu._failed.cache_clear()
    for _ in range(2):
        found, most = index.suggest(query, 0.1)
        expected, bounds = beyond.suggest(query, 0.1)
        assert np.array_equal(found, expected)
        assert np.array_equal(most, bounds)
    assert caplog.text.count("(RuntimeError)") == 1
    assert "Lind" not in caplog.text


@pytest.mark.gpu
def test_a_real_gpu_finds_what_brute_force_does():
    if not available():
        pytest.skip("no GPU, or faiss-cpu: pip install '.[gpu]' on a machine with one")
    rows, queries = unit(20_000, 5, 0.4), unit(10, 6, 0.4)
    index = on_gpu([rows.astype(np.float16)], Hashed([rows]))
    assert isinstance(index, Topmost)
    exact = queries @ rows.astype(np.float16).astype(np.float32).T
    for query, cosines in zip(queries, exact, strict=True):
        limit = float(np.sort(cosines)[-1_000])
        found, most = index.suggest(query, limit)
        assert set(np.flatnonzero(cosines >= limit).tolist()) <= set(found.tolist())
        assert (cosines[found] <= most).all()
        assert np.abs(most - cosines[found]).max() <= 2e-3
