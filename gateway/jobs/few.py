"""A few questions at once: more would wait for each other past the guards' deadline."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

_AT_ONCE = 4

Asked = TypeVar("Asked")
Told = TypeVar("Told")


async def few(ask: Callable[[Asked], Awaitable[Told]], asked: Iterable[Asked]) -> list[Told]:
    """What each comes to, in their order; the first error ends all."""
    asking = asyncio.Semaphore(_AT_ONCE)

    async def one(question: Asked) -> Told:
        async with asking:
            return await ask(question)

    try:
        async with asyncio.TaskGroup() as group:  # where one fails, nobody goes on asking
            tasks = [group.create_task(one(question)) for question in asked]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
