"""Which LoRA is loaded on which server of a fleet: before the first request that wears it, until none does.

A LoRA has the name that its content gives, and no name ever stands for other content: a server's prefix cache
knows names, not weights. It is unloaded once nothing has worn it for half an hour and no answer under it runs,
long before its files go, which a server reads again where its cache was full.

vLLM 0.32 on the CPU computes rows without a LoRA as if they wore what lies in the last of its `--max-loras` slots,
as soon as any other row of the batch wears one: slots fill from the first, each load takes one, and to unload frees
a name but no slot. Such a server (`Room.apart` is false) is never asked to fill its last: nothing is unloaded there,
so that its list of models tells every process that shares it how many slots are taken, and names have no part
that is a gateway's own, so that two of them take one slot for one LoRA.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import orjson

from adapters.base import EngineError, EngineRejected, EngineUnavailable, Scaled
from gateway.engines.replica import Replica
from gateway.engines.steering import OWN, Shelf

SPARE = 2  # slots that stay empty where rows are not kept apart: the last, and one for who loads at this moment
_IDLE_S = 1800.0
_AGAIN_S = 60.0  # after which a LoRA that was refused is offered again: its files may not have been seen yet
_PATIENCE_S = 5.0  # with servers that are to unload
_REFUSED = (400, 404, 422, 500)  # the last: of too high a rank, among others
_TOGETHER = 8  # requests that a server answers under different LoRAs in one step; more of them wait for the next
_METRIC, _LORAS = b"vllm:", b"vllm:lora_requests_info"
_SLOTS = re.compile(rb'^vllm:lora_requests_info\{[^}]*max_lora="(\d+)"', re.MULTILINE)
_CACHE = re.compile(rb"^vllm:cache_config_info\{([^}]*)\}", re.MULTILINE)
_GPU = (b'block_size="16"', b'user_specified_block_size="False"')  # on a CPU, vLLM's default is 128
_CPU = b'mamba_ssm_cache_dtype="float32"'  # what it makes of "auto" there


@dataclass(frozen=True, slots=True)
class Room:
    """How many LoRAs a server has `slots` for, None where it does not say; `apart`: rows without one stay so."""

    slots: int | None
    apart: bool

    @classmethod
    def of(cls, metrics: bytes) -> "Room":
        """What a server's metrics tell. Rows are apart only where it surely runs on no CPU."""
        slots, cache = _SLOTS.search(metrics), _CACHE.search(metrics)
        labels = cache[1].split(b",") if cache else []
        return cls(int(slots[1]) if slots else None, _CPU not in labels and all(sign in labels for sign in _GPU))

    def holds(self, taken: int) -> bool:
        """Whether one more can be loaded where so many are."""
        return self.apart or (self.slots is not None and taken + SPARE < self.slots)


def wanted(requests: int, levels: int, *, apart: bool = True) -> tuple[int, int]:
    """`--max-loras` and `--max-cpu-loras` for so many active forget requests, each at so many levels of weight.

    Where rows are kept apart, slots are those of one step, and the cache holds all that may be asked for singly.
    Where they are not, there is a slot for each of these, one for each server's examination, and the spare ones.
    """
    names = max(1, requests * levels)
    return (min(names, _TOGETHER), names) if apart else (names + 1 + SPARE, names + 1 + SPARE)


@dataclass(slots=True, eq=False)
class _There:
    """One server process: what is loaded, what it refused, and whose turn it is to load."""

    room: Room
    loaded: set[str] = field(default_factory=set)
    refused: dict[str, float] = field(default_factory=dict)  # when
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Loras:
    """Lays LoRAs on the shelf, loads them where they are wanted, and unloads them.

    Args:
        idle: seconds after which nobody wears a LoRA any more.
    """

    def __init__(self, shelf: Shelf, idle: float = _IDLE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._shelf = shelf
        self._idle, self._clock = idle, clock
        self._there: dict[Replica, _There] = {}
        self._worn: Counter[str] = Counter()  # by how many answers
        self._last: dict[str, float] = {}  # when one began, or ended

    def examined(self, replica: Replica, room: Room) -> None:
        """A server process of which nothing is known but its room."""
        self._there[replica] = _There(room)

    @asynccontextmanager
    async def worn(self, loras: Sequence[Scaled]) -> AsyncIterator[str]:
        """The folder of the LoRA that adds what all of these add; while it lasts, nobody unloads it.

        Raises:
            EngineError: it cannot be laid.
        """
        folder = await asyncio.to_thread(self._shelf.lora, loras)
        self._worn[folder] += 1
        try:
            yield folder
        finally:
            self._worn[folder] -= 1
            self._last[folder] = self._clock()

    async def load(self, replica: Replica, folder: str) -> str:
        """The name under which a request to this server wears the LoRA, which is loaded there then.

        Raises:
            EngineRejected: this server cannot have it.
            EngineUnavailable, EngineTimeout: see there.
        """
        there = self._there.get(replica)
        if there is None:
            raise EngineUnavailable("this server was not examined")
        name = _name(folder, there.room)
        if name in there.loaded:
            return name
        async with there.turn:
            if name in there.loaded:
                return name
            if self._clock() - there.refused.get(name, -_AGAIN_S) < _AGAIN_S:
                raise EngineRejected("the server refused this LoRA")
            listed = await names(replica)
            if name not in listed:
                if not there.room.holds(len(listed)):
                    raise EngineRejected("no slot of the server's --max-loras is left for this LoRA")
                await self._loaded(replica, there, name, folder)
            there.loaded.add(name)
        return name

    def forget(self, replica: Replica, folder: str) -> None:
        """A server said that it knows no such name: it is loaded anew when it is wanted."""
        if there := self._there.get(replica):
            there.loaded.discard(_name(folder, there.room))

    async def sweep(self) -> None:
        """Unload what nobody has worn for a while. A server that does not answer is asked the next time."""
        for folder in [one for one, count in self._worn.items() if count]:
            await asyncio.to_thread(self._shelf.keep, folder)
        gone = self._clock() - self._idle
        await self._unload([one for one, last in self._last.items() if last < gone and not self._worn[one]])

    async def close(self) -> None:
        """Unload everything, as far as servers answer in time."""
        await self._unload([*self._last])

    async def _unload(self, folders: Iterable[str]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                for folder in folders:
                    if await self._unloaded(folder) and not self._worn[folder]:
                        self._worn.pop(folder, None)
                        self._last.pop(folder, None)

    async def _loaded(self, replica: Replica, there: _There, name: str, folder: str) -> None:
        asked = {"lora_name": name, "lora_path": str(self._shelf.root / folder)}
        status, _ = await replica.post("load_lora_adapter", orjson.dumps(asked), judged=False)
        if status == 200 or name in await names(replica):  # another process was quicker
            return
        if status not in _REFUSED:
            raise EngineUnavailable(f"the server answers {status}")
        there.refused[name] = self._clock()
        raise EngineRejected(f"the server answers {status} to this LoRA")

    async def _unloaded(self, folder: str) -> bool:
        """Whether no server has it any more, of those that would take another's place there."""
        done = True
        for replica, there in [*self._there.items()]:
            name = _name(folder, there.room)
            if not there.room.apart or name not in there.loaded:
                continue
            if not replica.admitted:
                done = False
                continue
            async with there.turn:
                if self._worn[folder]:
                    return False
                try:
                    await unload(replica, name)
                    there.loaded.discard(name)
                except EngineError:
                    done = False
        return done


async def names(replica: Replica) -> frozenset[str]:
    """The LoRAs that were loaded there and not unloaded, whoever did it.

    Raises:
        EngineUnavailable: the server does not say.
    """
    status, body = await replica.get("models")
    if status != 200:
        raise EngineUnavailable(f"the server answers {status}")
    return frozenset(_adapters(orjson.loads(body)["data"]))


async def may_wear(replica: Replica) -> bool:
    """Whether the server was started for LoRAs, as far as it says: where its metrics say nothing, it may have been.

    Raises:
        EngineUnavailable, EngineTimeout: see there.
    """
    status, metrics = await replica.get("/metrics")
    if status != 200 or _METRIC not in metrics or _LORAS in metrics:
        return True
    status, _ = await replica.get("load_lora_adapter")  # where there is one, it wants to be posted to
    return status != 404 or bool(await names(replica))


async def unload(replica: Replica, name: str) -> None:
    """The server knows no such name after that.

    Raises:
        EngineError: it does not answer, or will not.
    """
    status, _ = await replica.post("unload_lora_adapter", orjson.dumps({"lora_name": name}), judged=False)
    if status not in (200, 404):
        raise EngineUnavailable(f"the server answers {status}")


def _adapters(models: Iterable[dict[str, str | None]]) -> Iterable[str]:
    return (str(one["id"]) for one in models if one.get("parent") is not None)


def _name(folder: str, room: Room) -> str:
    return folder if room.apart else folder[OWN:]
