"""What a training needs to be taken up by the next worker, at rest: an artifact that is replaced as it goes.

Sealed like every artifact and referred to by its request, under a method that nothing enforces; so it is kept
while the request is, and found by whoever claims it.
"""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from gateway.core import Core
from gateway.registry import RegistryError, State

T = TypeVar("T")


class Checkpoint:
    """The files of one request's training, under one method."""

    def __init__(self, core: Core, request: str, method: str) -> None:
        self._core = core
        self._request = request
        self._method = method

    async def read(self, name: str) -> bytes | None:
        """A file; None where there is none, or where it cannot be read: then it is all done again."""
        digest = await self._digest()
        try:
            return await self._core.artifacts.read(digest, name) if digest else None
        except RegistryError:
            return None

    async def lessons(self, kind: TypeAdapter[T]) -> T | None:
        """What is to be learned, as `read` has it; None also where it is of another form."""
        stored = await self.read("lessons")
        try:
            return kind.validate_json(stored) if stored else None
        except ValidationError:
            return None

    async def replace(self, files: Mapping[str, bytes]) -> None:
        """These files in place of all that was there.

        Raises:
            Conflict: the request is being learned no more.
        """
        digest = await self._core.artifacts.store(self._method, self._request, {}, files)
        await self._refer(digest)

    async def drop(self) -> None:
        """Nothing is left of it.

        Raises:
            Conflict: as `replace`.
        """
        await self._refer(None)

    async def _refer(self, digest: str | None) -> None:
        registry = self._core.registry
        artifacts = dict((await registry.get(self._request)).artifacts)
        before = artifacts.pop(self._method, None)
        if before == digest:
            return
        if digest:
            artifacts[self._method] = digest
        await registry.update(self._request, actor="worker", expect={State.LEARNING}, artifacts=artifacts)
        if before:
            await self._core.artifacts.drop(before)

    async def _digest(self) -> str | None:
        return (await self._core.registry.get(self._request)).artifacts.get(self._method)
