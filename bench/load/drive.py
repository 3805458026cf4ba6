"""Traffic: requests that leave when they are due, and requests that leave as soon as one is answered.

Open-loop, the arrival times are drawn beforehand and latency counts from the moment a request was due,
so that a server that stalls pays for those that had to wait (nobody coordinates with it). Closed-loop,
some requests are always in flight: that finds what a server can do at most.
"""

import asyncio
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, product
from math import nan
from time import perf_counter
from typing import Literal, Self

import aiohttp
import orjson

from bench.load.upstream import MARK

Outcome = Literal["whole", "broken", "refused", "unreachable"]

_SAID = re.compile(rb'"(?:content|text)": ?"[^"]')
_DONE, _ERROR, _MARK = b"data: [DONE]", b'data: {"error"', MARK.encode()

_PLACES = ("small office", "village school", "public library", "city garden", "hospital kitchen", "railway station")
_TASKS = (
    "plan the week so that nobody works two evenings in a row",
    "write a short notice about the new opening hours",
    "compare the cost of two suppliers over a whole year",
    "explain to newcomers how the old heating is switched on",
    "arrange the shelves so that what is asked for most stands in front",
    "decide which repairs should be done before the winter",
)
_MANNERS = ("in three sentences", "as a numbered list", "in plain words", "for somebody in a hurry", "with one example")
_ENDS = ("Say what could go wrong.", "Leave out the figures.", "Keep it friendly.", "Name the first step.")


@dataclass(frozen=True, slots=True)
class Target:
    """A server to ask: `url` up to and including /v1."""

    name: str
    url: str
    model: str
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Timing:
    """One request, in seconds from when it was due: to the first text (nan: none came), and to the end.

    `passed`: the mock upstream's own words came. `events`: of the stream.
    """

    first: float
    total: float
    outcome: Outcome
    passed: bool = False
    events: int = 0


def heard(timings: Iterable[Timing]) -> list[Timing]:
    """Those that ended whole and said something: of the others no time is known, and they are counted instead."""
    return [one for one in timings if one.outcome == "whole" and one.first == one.first]


def prompts(seed: int) -> Iterator[str]:
    """Different requests of about thirty tokens each about everyday matters, without end."""
    rng = random.Random(seed)
    forms = list(product(_PLACES, _TASKS, _MANNERS, _ENDS))
    count = 0
    while True:
        rng.shuffle(forms)
        for place, task, manner, end in forms:
            count += 1
            yield f"I help out at a {place}. Please {task}, {manner}. {end} There are {100_000 * seed + count} of us."


class Client:
    """Asks one target over pooled connections, one thread of execution per request. An async context manager."""

    def __init__(self, target: Target, max_tokens: int = 64, timeout_s: float = 60.0) -> None:
        self.target = target
        self._max_tokens = max_tokens
        headers = {"authorization": f"Bearer {target.key}"} if target.key else {}
        self._http = aiohttp.ClientSession(
            headers=headers | {"content-type": "application/json"},
            # shorter than uvicorn's five seconds: no request is sent where the server is about to hang up
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def ask(self, prompt: str, *, stream: bool, due: float | None = None) -> Timing:
        """One chat request; its times count from `due`, by default from now. Never raises for what the server does."""
        due = perf_counter() if due is None else due
        asked = {
            "model": self.target.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": self._max_tokens,
            "temperature": 0,
            "stream": stream,
        }
        outcome: Outcome = "unreachable"
        first, body = nan, b""
        try:
            async with self._http.post(f"{self.target.url}/chat/completions", data=orjson.dumps(asked)) as response:
                if response.status != 200:
                    await response.read()
                    outcome = "refused"
                else:
                    outcome = "broken"
                    first, body = await _read(response)
                    if _SAID.search(body) and (not stream or (_DONE in body and _ERROR not in body)):
                        outcome = "whole"
        except (aiohttp.ClientError, TimeoutError):
            pass
        return Timing(first - due, perf_counter() - due, outcome, _MARK in body, body.count(b"data: "))


async def _read(response: aiohttp.ClientResponse) -> tuple[float, bytes]:
    """When the first text came, and the whole body."""
    body, first = bytearray(), nan
    async for chunk in response.content.iter_any():
        body += chunk
        if first != first and _SAID.search(body):
            first = perf_counter()
    return first, bytes(body)


async def one_by_one(client: Client, prompts: Iterable[str], *, stream: bool) -> list[Timing]:
    """Each request once the one before it was answered."""
    return [await client.ask(prompt, stream=stream) for prompt in prompts]


async def all_of(client: Client, prompts: Iterable[str], in_flight: int) -> tuple[list[Timing], float]:
    """Every prompt once, every other one streamed, so many in flight; and how many seconds it took."""
    waiting, began = iter(enumerate(prompts)), perf_counter()

    async def one() -> list[Timing]:
        return [await client.ask(prompt, stream=bool(i % 2)) for i, prompt in waiting]

    found = await asyncio.gather(*(one() for _ in range(in_flight)))
    return [timing for timings in found for timing in timings], perf_counter() - began


async def open_loop(
    client: Client, prompts: Sequence[str], rate: float, *, stream: bool, seed: int = 0
) -> tuple[list[Timing], float]:
    """A Poisson stream of requests at `rate` a second; and the most that this driver itself was late, in seconds."""
    rng = random.Random(seed)
    arrivals = list(accumulate(rng.expovariate(rate) for _ in prompts))
    began, late = perf_counter(), 0.0
    flying = []
    for prompt, arrival in zip(prompts, arrivals, strict=True):
        due = began + arrival
        if (wait := due - perf_counter()) > 0:
            await asyncio.sleep(wait)
        late = max(late, perf_counter() - due)
        flying.append(asyncio.create_task(client.ask(prompt, stream=stream, due=due)))
    return await asyncio.gather(*flying), late


async def closed_loop(
    client: Client, prompts: Iterable[str], in_flight: int, seconds: float, *, stream: bool
) -> tuple[list[Timing], float]:
    """`in_flight` requests at any time for some seconds; and how many seconds it was until the last was answered."""
    waiting, began = iter(prompts), perf_counter()

    async def one() -> list[Timing]:
        timings = []
        while perf_counter() - began < seconds:
            timings.append(await client.ask(next(waiting), stream=stream))
        return timings

    found = await asyncio.gather(*(one() for _ in range(in_flight)))
    return [timing for timings in found for timing in timings], perf_counter() - began
