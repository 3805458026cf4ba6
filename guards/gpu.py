"""The rows that are like a vector, on a GPU: exact, and only the nearest.

FAISS's flat index on a GPU has no search by limit, and returns 2,048 rows at most. So the nearest k are
asked for, with k growing until the last of them lies below the limit: then nothing at the limit is left
out. Where 2,048 are not enough, the rows' index on the CPU answers, which is there anyway: a GPU that
language models fill may have no room for rows, and then that index serves alone. It also
answers what a search on the GPU fails to.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import faiss
import numpy as np

from guards.encoder import Floats
from guards.nearest import Nearest, Rows

FEWEST = 4_096  # rows from which a search on a GPU costs less than the way there

_FIRST, _GROWTH, _MOST = 64, 8, 2_048  # rows asked for: at first, how many times more, and what FAISS can rank
_ERROR = 1e-3  # of a cosine, where factors are rounded to ten bits
_ROOM = 64 * 2**20  # bytes for intermediate results; FAISS takes 1.5 GB if not told

log = logging.getLogger("lethe.gpu")


class Ranked(Protocol):
    """An index that knows the rows of the highest inner products, as FAISS's on GPUs do."""

    def search(self, vectors: Floats, k: int) -> tuple[Floats, Rows]:
        """(q, k) products, the highest first, and their rows; -1 where there are no more."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Topmost:
    """`Nearest` by ranks where these reach far enough, by `beyond` where not. Both hold the same unit rows."""

    ranked: Ranked = field(repr=False)
    beyond: Nearest = field(repr=False)

    @property
    def rows(self) -> int:
        return self.beyond.rows

    @property
    def cost(self) -> int:
        return self.beyond.cost

    @property
    def error(self) -> float:
        return self.beyond.error

    @property
    def recall(self) -> float:
        return self.beyond.recall

    def suggest(self, vector: Floats, limit: float) -> tuple[Rows, Floats]:
        try:
            return self._topmost(vector, limit)
        except RuntimeError as error:
            _failed(type(error).__name__)
            return self.beyond.suggest(vector, limit)

    def _topmost(self, vector: Floats, limit: float) -> tuple[Rows, Floats]:
        k = _FIRST
        while True:
            k = min(k, self.rows, _MOST)
            (cosines,), (rows,) = self.ranked.search(vector[None], k)
            if k == self.rows or cosines[-1] < limit - _ERROR:
                like = cosines >= limit - _ERROR
                return rows[like], cosines[like] + np.float32(_ERROR)
            if k == _MOST:
                return self.beyond.suggest(vector, limit)
            k *= _GROWTH

    def most(self, vector: Floats, rows: Rows) -> Floats:
        return self.beyond.most(vector, rows)

    def cosines(self, vector: Floats, rows: Rows) -> Floats:
        return self.beyond.cosines(vector, rows)


@dataclass(frozen=True, slots=True)
class _Device:
    """What all indexes on one GPU share. FAISS wants it used by one thread at a time."""

    resources: Any
    turn: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True, eq=False)
class _OnDevice:
    """FAISS's flat index in fp32."""

    device: _Device
    index: Any

    def search(self, vectors: Floats, k: int) -> tuple[Floats, Rows]:
        with self.device.turn:
            products, rows = self.index.search(vectors, k)
        return products, rows


def available() -> bool:
    """Whether this FAISS was built for GPUs and sees one."""
    return bool(faiss.get_num_gpus() > 0)


def on_gpu(blocks: Sequence[Any], beyond: Nearest) -> Nearest:
    """The rows of all blocks on the first GPU that this process sees; `beyond` alone where that has no room."""
    device = _device()
    try:
        with device.turn:
            index = faiss.GpuIndexFlatIP(device.resources, blocks[0].shape[1])
            index.add(np.concatenate(blocks).astype(np.float32, copy=False))
    except RuntimeError as error:
        log.warning("rows stay on the CPU: the GPU did not take them (%s)", type(error).__name__)
        return beyond
    return Topmost(_OnDevice(device, index), beyond)


@cache
def _failed(kind: str) -> None:
    """Says it once."""
    log.warning("rows are searched on the CPU where the GPU's search fails (%s)", kind)


@cache
def _device() -> _Device:
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(_ROOM)
    return _Device(resources)
