"""Assistants and LoRAs where the servers look for them: a folder that the gateway and every vLLM see, under one path.

It is `engine.adapters`. Each is laid there under a name that its content gives, and no request can guess, in one
rename, so that a server sees all of it or nothing. What the gateway has not named for an hour goes, and at its end
all that it laid; what a gateway left that ended otherwise goes after an hour by the next. Both know what is to be
forgotten: the folder should be in memory, and nobody else's.
"""

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from adapters.base import AdapterError, EngineError, Scaled, Steered, Strength
from adapters.o3.concatenation import files_of
from adapters.uld import wire

OWN = 16  # characters of a name that tell whose it is; its content gives the rest
_KEPT_S = 3600.0
_SWEEP_S = 60.0  # between two looks through the folder
_OURS = re.compile(r"[0-9a-f]{48}(\.[0-9a-f]{8})?")  # whatever else lies there is somebody's
_NONE = Strength(0.0, 0.0, 0.0)


class Shelf:
    """Lays assistants and LoRAs into `root`. Any thread may ask."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._own = secrets.token_hex(OWN // 2)  # several gateways may share the folder
        self._names: dict[Hashable, str] = {}
        self._swept = -_SWEEP_S

    def asked(self, plan: Steered) -> dict[str, str]:
        """`vllm_xargs` for an answer under the plan, whose assistants are then there.

        Raises:
            EngineError: they cannot be laid.
        """
        try:
            self._sweep_at_times()
            named = [wire.Named(self._laid(one.folder), one.strength) for one in plan.assistants]
            return wire.dumps(wire.Asked(tuple(named)))
        except (OSError, ValueError) as error:  # an emptied folder among them
            raise EngineError("the assistants of this plan cannot be laid into engine.adapters") from error

    def lora(self, loras: Sequence[Scaled]) -> str:
        """The folder, by its name in `root`, of the LoRA that adds what all of these add.

        Raises:
            EngineError: it cannot be made, or laid.
        """
        try:
            self._sweep_at_times()
            key = tuple((*_state(one.folder), one.weight) for one in loras)
            return self._named(key, lambda: files_of(loras))
        except (OSError, ValueError, AdapterError) as error:
            raise EngineError("the LoRAs of this plan cannot be laid into engine.adapters") from error

    @contextmanager
    def laid(self, files: Mapping[str, bytes]) -> Iterator[str]:
        """A folder with these files, by its name, until it is left.

        Raises:
            EngineError: nothing can be laid.
        """
        try:
            name = self._lay(files)
        except OSError as error:
            raise EngineError("engine.adapters is a folder that cannot be written to") from error
        try:
            yield name
        finally:
            self._remove(self.root / name)

    def _sweep_at_times(self) -> None:
        if time.monotonic() - self._swept >= _SWEEP_S:
            self._swept = time.monotonic()
            self.sweep()

    def keep(self, name: str) -> None:
        """For another hour."""
        with suppress(FileNotFoundError):
            os.utime(self.root / name)

    @contextmanager
    def examination(self, tokens: Sequence[int]) -> Iterator[dict[str, str]]:
        """`vllm_xargs` for an answer that is to be these tokens, while it is asked for.

        Raises:
            EngineError: nothing can be laid.
        """
        with self.laid({wire.EXAMINATION: json.dumps({"tokens": list(tokens)}).encode()}) as name:
            yield wire.dumps(wire.Asked((wire.Named(name, _NONE),)))

    def clear(self) -> None:
        """Removes all that was laid."""
        for path in self.root.glob(f"{self._own}*"):
            self._remove(path)

    def _laid(self, folder: Path) -> str:
        """The name of the assistant in an artifact's folder, which never changes."""
        return self._named(_state(folder), lambda: {path.name: path.read_bytes() for path in folder.iterdir()})

    def _named(self, key: Hashable, files: Callable[[], Mapping[str, bytes]]) -> str:
        if name := self._names.get(key):
            with suppress(FileNotFoundError):
                os.utime(self.root / name)
                return name
        self._names[key] = self._lay(files())
        return self._names[key]

    def _lay(self, files: Mapping[str, bytes]) -> str:
        name = self._own + _digest(files)
        made = self.root / f"{name}.{secrets.token_hex(4)}"
        made.mkdir()
        try:
            for file, content in files.items():
                (made / file).write_bytes(content)
            with suppress(OSError):  # it is there already
                made.rename(self.root / name)
            os.utime(self.root / name)
        finally:
            self._remove(made)
        return name

    def sweep(self) -> None:
        """Removes what nobody has used for an hour.

        Raises:
            OSError: the folder cannot be read.
        """
        now = time.time()
        for path in self.root.iterdir():
            with suppress(FileNotFoundError):  # another gateway was quicker
                if _OURS.fullmatch(path.name) and now - path.stat().st_mtime > _KEPT_S:
                    self._remove(path)

    def _remove(self, path: Path) -> None:
        """Out of sight first, so that no server reads a part of it."""
        with suppress(OSError):
            path = path.rename(path.with_name(f"{path.name[:48]}.{secrets.token_hex(4)}"))
        shutil.rmtree(path, ignore_errors=True)


def steered_among(read: Mapping[str, Any], tokens: Sequence[int]) -> Mapping[str, Any]:
    """A steered completion after which nothing but one of these is said, see `wire.Asked`."""
    (told,) = read["vllm_xargs"].values()
    return {**read, "vllm_xargs": wire.dumps(replace(wire.loads(told), only=tuple(tokens)))}


def _state(folder: Path) -> tuple[Path, int]:
    """The folder, and what changes with its content."""
    return folder, max(path.stat().st_mtime_ns for path in folder.iterdir())


def _digest(files: Mapping[str, bytes]) -> str:
    found = blake2b(digest_size=16)
    for name in sorted(files):
        found.update(f"{name} {len(files[name])} ".encode() + files[name])
    return found.hexdigest()
