"""An encoder that never encodes a text twice, nor one alone: harnesses judge tens of thousands.

Callers that wait at the same moment are answered by one batch, ordered by length so that little is
padded. Vectors are kept in a file of fixed records (hash of the text, then float32), one file for each
encoder and shape; several processes may append to it at once.
"""

import asyncio
import fcntl
import hashlib
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from guards.encoder import Encoder, Floats

_KEY = 16  # bytes of a text's hash
_GROUP = 256  # texts handed on at once, and kept as soon as they are known
_GATHER = 0.002  # seconds without a newcomer after which those who wait are served


class Remembering:
    """An `Encoder` with a memory. `fresh` counts the texts that had to be encoded.

    Args:
        encoder: asked for what is not known; closed by its owner.
        folder: where vectors are kept.
    """

    def __init__(self, encoder: Encoder, folder: Path) -> None:
        self._encoder = encoder
        self.identity = encoder.identity
        self.dim = encoder.dim
        name = hashlib.blake2b(encoder.identity.encode(), digest_size=8).hexdigest()
        self._path = folder / f"encoded-{name}.bin"
        self._rows = _Memory(self._path, (encoder.dim,), lambda texts: encoder.encode(texts))
        self._layers: _Memory | None = None

    @property
    def fresh(self) -> int:
        return self._rows.fresh

    async def encode(self, texts: Sequence[str], *, bulk: bool = False) -> Floats:
        return await self._rows.of(texts)

    async def layers(self, texts: Sequence[str], *, bulk: bool = False) -> Floats:
        if self._layers is None:
            _, *shape = (await self._encoder.layers([""])).shape
            path = self._path.with_name(f"layers-{self._path.name}")
            self._layers = _Memory(path, tuple(shape), lambda texts: self._encoder.layers(texts))
        return await self._layers.of(texts)

    async def close(self) -> None:
        """Nothing: what is remembered is on disk already."""


class _Memory:
    """Arrays of one shape by text."""

    def __init__(self, path: Path, shape: tuple[int, ...], make: Callable[[list[str]], Awaitable[Floats]]) -> None:
        self._path = path
        self._record = np.dtype([("key", np.void, _KEY), ("row", "<f4", shape)])
        self._make = make
        self._known: dict[bytes, Floats] = {}
        self._waiting: dict[str, None] = {}
        self._serving: asyncio.Task[None] | None = None
        self.fresh = 0
        if path.is_file():
            whole = path.stat().st_size // self._record.itemsize  # an unfinished last record is left out
            records: Any = np.memmap(path, self._record, mode="r", shape=whole) if whole else ()
            self._known = {record["key"].tobytes(): record["row"] for record in records}

    async def of(self, texts: Sequence[str]) -> Floats:
        """(n, *shape), in order."""
        keys = [_key(text) for text in texts]
        new = [text for text, key in zip(texts, keys, strict=True) if key not in self._known]
        if new:
            self._waiting.update(dict.fromkeys(new))
            if self._serving is None or self._serving.done():
                self._serving = asyncio.create_task(self._serve(), name="remembering")
            await asyncio.shield(self._serving)
        rows = np.empty((len(keys), *self._record["row"].shape), np.float32)
        for i, key in enumerate(keys):
            rows[i] = self._known[key]
        return rows

    async def _serve(self) -> None:
        while self._waiting:
            size = -1
            while len(self._waiting) != size:
                size = len(self._waiting)
                await asyncio.sleep(_GATHER)
            batch = sorted(self._waiting, key=len)
            self._waiting = {}
            for start in range(0, len(batch), _GROUP):
                group = batch[start : start + _GROUP]
                self._keep(group, await self._make(group))

    def _keep(self, texts: Sequence[str], rows: Floats) -> None:
        self.fresh += len(texts)
        records: Any = np.empty(len(texts), self._record)
        records["key"] = np.frombuffer(b"".join(map(_key, texts)), f"V{_KEY}")
        records["row"] = rows
        for text, row in zip(texts, rows, strict=True):
            self._known[_key(text)] = row
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = file.seek(0, os.SEEK_END)  # as it is now: another process may have written before the lock was had
            file.truncate(end - end % self._record.itemsize)  # what a killed process left
            file.write(records.tobytes())


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=_KEY).digest()
