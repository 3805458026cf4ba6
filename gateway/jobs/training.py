"""A training on a thread of the worker's: its progress in the request's events, its state at rest as it goes."""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from time import monotonic
from typing import TYPE_CHECKING, Protocol, TypeVar

from adapters.base import Artifact
from gateway.core import Core
from gateway.jobs.checkpoint import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapters.course import Epoch

_NEEDED = ("torch", "transformers", "safetensors", "peft")
_EVERY_S = 5.0  # between two checkpoints, or ten times as long as one takes

T_co = TypeVar("T_co", covariant=True)


class Train(Protocol[T_co]):
    """A method's training, with all but this given; see `adapters.course`."""

    def __call__(
        self,
        *,
        resume: bytes | None,
        checkpoint: "Callable[[bytes], None]",
        progress: "Callable[[Epoch], None]",
        stop: "Callable[[], bool]",
    ) -> T_co | None: ...


def lacking() -> str | None:
    """What an installation that can train needs; None where it has all of it."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    return f"{' and '.join(missing)} not installed: pip install '.[cpu]' or '.[gpu]'" if missing else None


def contents(artifact: Artifact) -> dict[str, bytes]:
    """The files of what was trained before, by name. Blocks."""
    assert artifact.folder
    return {file.name: file.read_bytes() for file in artifact.folder.iterdir()}


async def trained(
    core: Core, request: str, method: str, kept: Checkpoint, lessons: Mapping[str, bytes], train: Train[T_co]
) -> T_co:
    """What the training ends with. Cancelled, this returns once the thread has seen that it is to stop.

    Args:
        lessons: files that a checkpoint holds beside the training's state.
    """
    loop = asyncio.get_running_loop()
    news: asyncio.Queue[bytes | Epoch | None] = asyncio.Queue()
    ended = threading.Event()

    def tell(item: "bytes | Epoch") -> None:
        loop.call_soon_threadsafe(news.put_nowait, item)

    resume = await kept.read("state")
    call = partial(train, resume=resume, checkpoint=tell, progress=tell, stop=ended.is_set)
    training = asyncio.create_task(asyncio.to_thread(call))
    training.add_done_callback(lambda _: news.put_nowait(None))
    due = 0.0
    try:
        while (item := await news.get()) is not None:
            if not isinstance(item, bytes):
                await core.registry.note(request, "progress", {"method": method, **asdict(item)})
            elif (began := monotonic()) >= due:
                await kept.replace({**lessons, "state": item})
                due = monotonic() + max(_EVERY_S, 10 * (monotonic() - began))
        found = await training
    finally:
        ended.set()
        await asyncio.wait((training,))
    assert found is not None, "stopped by nobody"
    return found
