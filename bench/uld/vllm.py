"""What ULD costs in a real vLLM: a server with the plugin beside one without, asked by turns.

Eight streams at once, each of as many tokens; a step is the time of all by their number. An untouched round is
asked of both servers, a steered one of that with the plugin, each stream under one of five assistants.
"""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
from rich.progress import Progress

from bench.serving import VllmProcess
from bench.tokens import ratio_of
from bench.uld.speed import ASSISTANTS, Cost, endless
from gateway.engines.steering import Shelf
from gateway.settings import Settings
from guards.targets import ordinary_prompts

_STREAMS = 8
_TOKENS = 128


@dataclass(frozen=True, slots=True)
class ServerCost:
    """`throughput` of untouched streams with the plugin, as a share of that without, and its interval."""

    throughput: float
    low: float
    high: float
    steered: Cost


async def server_costs(settings: Settings, rounds: int, bar: Progress) -> ServerCost:
    """Two servers, asked by turns; the first round of each is not counted.

    Raises:
        VllmError: vLLM is not installed, or did not start.
        httpx.TransportError: it went away.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        laid = folder / "laid"
        laid.mkdir()
        made = await asyncio.to_thread(endless, settings, folder)
        bare = await stack.enter_async_context(VllmProcess(made.model, folder / "bare.log"))
        plugged = await stack.enter_async_context(VllmProcess(made.model, folder / "plugged.log", assistants=laid))
        anew = httpx.Limits(max_keepalive_connections=0)  # a server that waits for its turn closes what is idle
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=120, limits=anew))
        shelf = Shelf(laid)
        asked = [{"vllm_xargs": shelf.asked(made.plans[i % ASSISTANTS])} for i in range(_STREAMS)]
        plain: list[dict[str, Any]] = [{}] * _STREAMS
        kinds = ((bare, plain), (plugged, plain), (plugged, asked))
        seconds: list[list[float]] = [[] for _ in kinds]
        for i in bar.track(range(rounds + 1), description="ULD in vLLM"):
            order = (0, 1, 2) if i % 2 else (2, 1, 0)
            for kind in order:
                seconds[kind].append(await _step(http, *kinds[kind]))
    without, untouched, steered = (found[1:] for found in seconds)
    return ServerCost(*ratio_of(without, untouched), Cost.of(_STREAMS, ASSISTANTS, untouched, steered))


async def _step(http: httpx.AsyncClient, server: VllmProcess, streams: Sequence[Mapping[str, Any]]) -> float:
    """Seconds of a step: all streams at once, each with what its request says besides."""
    shared = {"model": server.name, "temperature": 0, "max_tokens": _TOKENS, "ignore_eos": True}
    asked = zip(ordinary_prompts(), streams, strict=False)
    began = perf_counter()
    answers = await asyncio.gather(
        *(http.post(f"{server.url}/completions", json={**shared, **more, "prompt": text}) for text, more in asked)
    )
    took = perf_counter() - began
    written = [answer.raise_for_status().json()["usage"]["completion_tokens"] for answer in answers]
    assert written == [_TOKENS] * len(streams), "a stream that ended"
    return took / _TOKENS
