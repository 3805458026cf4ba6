"""The rows that are like a vector: exact where they are few, by hashed signs where they are many.

`Flat` is FAISS's exact index. `Hashed` keeps two coarse copies: the signs of `_BITS` random
projections (Charikar 2002: two unit vectors at angle θ differ in each sign with probability θ/π),
searched by Hamming distance in FAISS, and rows in 8 bits, by which what was found is weighed. The
Hamming radius follows from the limit: the expected distance at that cosine and `z` standard
deviations more. `z` is measured when the rows are built: the smallest, and at least `_Z`, that keeps
`_KEPT` of sampled pairs even where the limit lies at their own cosine. So no limit is searched with
less recall than is stated, and a shelf on which signs tell little searches harder by itself. Rounding
to 8 bits loses nothing: the error of a cosine is at most the longest row's rounding (Cauchy-Schwarz),
and the limit is lowered by it.

Reading the signs of a million rows takes 2 ms, weighing a hundred thousand of them 15. So a search has two
steps: what rows do not exceed is told from their distances alone, and whoever asked weighs what he needs.

Measured on a million clustered rows of MiniLM (one core): IVF with 1,024 cells in 8 bits read half
of all cells for a recall of .99 at cosine .6, and took 40 s to build on two.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from guards.encoder import Floats

LIKE = 0.45  # the lowest cosine that is searched: below it no knowledge is considered, unless a key leads to it
EXACT = 16_384  # rows up to which a flat index is as fast: it fits into a core's cache

_BITS = 512
_KEPT = 0.9995
_Z = 3.5  # keeps .9998 of the pairs where the law holds exactly
_HELD = 128  # rows whose pairs are measured
_CHUNK = 8_192
_STEP = 0.001  # of cosines between which distances are told apart

Rows = NDArray[np.int64]


class Nearest(Protocol):
    """An immutable set of unit rows. `error` is how far off a cosine may be, at most."""

    @property
    def rows(self) -> int: ...

    @property
    def cost(self) -> int:
        """Multiplications of a search, in rows of full length."""
        ...

    @property
    def error(self) -> float: ...

    @property
    def recall(self) -> float:
        """Share of the rows at a limit that a search finds, as measured; 1 where it is exact."""
        ...

    def suggest(self, vector: Floats, limit: float) -> tuple[Rows, Floats]:
        """The rows whose cosine with a unit vector (d,) may reach a limit, and what each does not exceed."""
        ...

    def most(self, vector: Floats, rows: Rows) -> Floats:
        """What the cosines of these rows do not exceed, (n,)."""
        ...

    def cosines(self, vector: Floats, rows: Rows) -> Floats:
        """The cosines of these rows, (n,), off by `error` at most."""
        ...


def build(blocks: Sequence[Any]) -> Nearest:
    """An index over the rows of all blocks, numbered in order; blocks are (n, d), of float16 or float32."""
    from guards import gpu  # which builds on this module

    count = sum(map(len, blocks))
    index: Nearest = Flat(blocks) if count <= EXACT else Hashed(blocks)
    return gpu.on_gpu(blocks, index) if count >= gpu.FEWEST and gpu.available() else index


class Flat:
    """Every row, in fp32."""

    error = 1e-5
    recall = 1.0

    def __init__(self, blocks: Sequence[Any]) -> None:
        self._index = faiss.IndexFlatIP(blocks[0].shape[1])
        self._index.add(np.concatenate(blocks).astype(np.float32, copy=False))

    @property
    def rows(self) -> int:
        return int(self._index.ntotal)

    @property
    def cost(self) -> int:
        return self.rows

    def suggest(self, vector: Floats, limit: float) -> tuple[Rows, Floats]:
        _, cosines, rows = self._index.range_search(vector[None], limit - self.error)
        return rows, cosines + np.float32(self.error)

    def most(self, vector: Floats, rows: Rows) -> Floats:
        return self.cosines(vector, rows) + np.float32(self.error)

    def cosines(self, vector: Floats, rows: Rows) -> Floats:
        found: Floats = self._index.reconstruct_batch(rows) @ vector
        return found


class Hashed:
    """Signs of random projections, then 8 bits: about 0.5 KB a row of 384."""

    def __init__(self, blocks: Sequence[Any]) -> None:
        count, dim = sum(map(len, blocks)), blocks[0].shape[1]
        self._scale = 127.0 / max(float(np.abs(block).max()) for block in blocks)
        self._codes = np.empty((count, dim), np.int8)
        self._signs = faiss.IndexBinaryFlat(_BITS)
        packed: list[NDArray[np.uint8]] = []
        longest, start = 0.0, 0
        for chunk in _chunks(blocks):
            scaled = chunk * np.float32(self._scale)
            codes = np.rint(scaled)
            longest = max(longest, float(np.linalg.norm(scaled - codes, axis=1).max()))
            self._codes[start : start + len(chunk)] = codes
            packed.append(_signs(chunk))
            self._signs.add(packed[-1])
            start += len(chunk)
        self.error = longest / self._scale + 1e-5
        self._words = _held(self._signs)
        self._z, self.recall = self._measured(packed)
        falling = np.arange(1.0, -1.0, -_STEP, dtype=np.float32)
        first = np.searchsorted(self._radius(falling), np.arange(_BITS + 1)).clip(max=len(falling) - 1)
        self._reached = falling[first] + np.float32(_STEP)  # by distance: what no row so far away exceeds

    @property
    def rows(self) -> int:
        return len(self._codes)

    @property
    def cost(self) -> int:
        return self.rows // 8

    def suggest(self, vector: Floats, limit: float) -> tuple[Rows, Floats]:
        radius = int(self._radius(np.float32(limit))) + 1  # FAISS returns what is nearer
        faiss.omp_set_num_threads(1)  # of this thread: a team for one query would only spin
        _, distances, rows = self._signs.range_search(_signs(vector[None]), radius)
        return rows, self._reached[distances.astype(np.intp)]

    def most(self, vector: Floats, rows: Rows) -> Floats:
        differing = self._words.take(rows, axis=0) ^ _signs(vector[None]).view(np.uint64)
        most: Floats = self._reached[np.bitwise_count(differing).sum(axis=1, dtype=np.intp)]
        return most

    def cosines(self, vector: Floats, rows: Rows) -> Floats:
        scaled = vector / np.float32(self._scale)
        found = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _CHUNK):
            part = slice(start, start + _CHUNK)
            found[part] = self._codes[rows[part]].astype(np.float32) @ scaled
        return found

    def _radius(self, limit: Any) -> Any:
        """The Hamming distance within which a row of that cosine lies."""
        expected, deviation = _law(limit)
        return np.minimum(_BITS, np.ceil(expected + self._z * deviation))

    def _measured(self, packed: Sequence[NDArray[np.uint8]]) -> tuple[float, float]:
        """`z` and the share of pairs that it keeps, of evenly spread rows with all others like them."""
        held = np.linspace(0, self.rows - 1, min(_HELD, self.rows), dtype=np.int64)
        vectors = self._codes[held].astype(np.float32) / np.float32(self._scale)
        signs = np.concatenate(packed)
        off: list[Floats] = []
        for start in range(0, self.rows, _CHUNK):
            codes = self._codes[start : start + _CHUNK].astype(np.float32) / np.float32(self._scale)
            cosines = codes @ vectors.T
            row, pair = np.nonzero(cosines >= LIKE)
            other = row + start != held[pair]
            row, pair = row[other], pair[other]
            distance = np.bitwise_count(signs[start + row] ^ signs[held[pair]]).sum(axis=1, dtype=np.float32)
            expected, deviation = _law(cosines[row, pair])
            off.append((distance - expected) / deviation)
        every = np.concatenate(off)
        if not len(every):
            return _Z, 1.0
        z = max(_Z, float(np.quantile(every, _KEPT, method="higher")))
        return z, float((every <= z).mean())


def _chunks(blocks: Sequence[Any]) -> Iterator[Floats]:
    """The rows in fp32, some thousands at a time: never all of them twice."""
    waiting: list[Any] = []
    for block in blocks:
        waiting.append(block)
        if sum(map(len, waiting)) >= _CHUNK:
            yield np.concatenate(waiting).astype(np.float32, copy=False)
            waiting = []
    if waiting:
        yield np.concatenate(waiting).astype(np.float32, copy=False)


def _signs(rows: Floats) -> NDArray[np.uint8]:
    return np.packbits(rows @ _frame(rows.shape[1]) > 0, axis=1)


def _held(signs: Any) -> NDArray[np.uint64]:
    """What FAISS holds of a binary index, not a copy: (rows, _BITS / 64). Lives no longer than the index."""
    words: NDArray[np.uint64] = faiss.rev_swig_ptr(signs.xb.data(), signs.ntotal * signs.code_size).view(np.uint64)
    return words.reshape(signs.ntotal, -1)


def _law(cosines: Any) -> tuple[Any, Any]:
    """Mean and standard deviation of the Hamming distance at a cosine."""
    p = np.arccos(np.clip(cosines, -1.0, 0.9999)) / np.pi
    return _BITS * p, np.sqrt(_BITS * p * (1.0 - p))


@cache
def _frame(dim: int) -> Floats:
    """Random directions, (dim, _BITS), evenly spread; the same in every process."""
    drawn = np.random.default_rng(0).standard_normal((-(-_BITS // dim), dim, dim))
    return np.ascontiguousarray(np.concatenate([np.linalg.qr(one)[0] for one in drawn])[:_BITS].T, np.float32)
