"""Many questions at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import nullcontext
from typing import TypeVar

AT_ONCE = 16

In = TypeVar("In")
Out = TypeVar("Out")


async def each(
    ask: Callable[[In], Awaitable[Out]],
    asked: Iterable[In],
    answered: Callable[[], None] = lambda: None,
    at_once: int | None = AT_ONCE,
) -> list[Out]:
    """What comes of each, in order, so many at a time, None for all; where one fails the others are asked no more."""
    places = asyncio.Semaphore(at_once) if at_once else nullcontext()

    async def one(what: In) -> Out:
        async with places:
            found = await ask(what)
        answered()
        return found

    tasks = [asyncio.ensure_future(one(what)) for what in asked]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
