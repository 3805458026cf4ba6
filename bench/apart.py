"""Quick benchmarks side by side, each in a process of its own that nothing else is measured in.

A pool of one for each: a process that dies breaks its pool, and the others are in none of it. Nothing that imports
torch is imported here: a process reads how many threads torch may have as it imports it, and harnesses are imported
after `_one_thread`.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from multiprocessing import get_context

from rich.console import Console

from bench.result import Result
from gateway.settings import Settings

_SIDE_BY_SIDE = 2

Harness = Callable[..., Coroutine[None, None, Result]]  # settings, whether quick, console; `part` or `seeds` of some


def apart(chosen: Mapping[str, Harness], settings: Settings) -> Iterator[tuple[str, Callable[[], Result]]]:
    """Each as it ends, whichever is first; they begin in the order that they are given in."""
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as turns:
        running = {turns.submit(_alone, harness, settings): one for one, harness in chosen.items()}
        for ended in as_completed(running):
            yield running[ended], ended.result


def _alone(harness: Harness, settings: Settings) -> Result:
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_one_thread) as pool:
        return pool.submit(_quickly, harness, settings).result()


def _one_thread() -> None:
    """Two programs with two threads each wait for one another on two cores."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def _quickly(harness: Harness, settings: Settings) -> Result:
    return asyncio.run(harness(settings, True, Console(stderr=True, force_terminal=False)))
