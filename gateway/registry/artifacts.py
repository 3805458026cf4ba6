"""Artifacts at rest: content-addressed, immutable, encrypted.

Each lies in a folder named by its digest. The folder is filled under another name, the manifest
last, everything synced, then renamed: it exists whole or not at all. Engines read files by path, so
`get` lays them out in clear in a private folder, in memory where the system offers that, which goes
away with this object; what a killed process left is deleted by the next one.
"""

import asyncio
import errno
import fcntl
import os
import re
import shutil
import tempfile
import time
import weakref
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from adapters.base import Artifact
from gateway.registry.errors import RegistryError
from gateway.registry.vault import Vault

_MANIFEST = "manifest"
_PREFIX = "lethe-clear-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Artifacts:
    """What learning made, by digest.

    Args:
        root: where the encrypted folders lie; made when missing.
        vault: encrypts them.
    """

    def __init__(self, root: Path, vault: Vault) -> None:
        self._root = root
        self._vault = vault
        with _ours():
            _sweep()
            self._clear, lock = _private_folder()
        self._wipe = weakref.finalize(self, _wipe, self._clear, lock)

    def close(self) -> None:
        """Delete the files laid out in clear."""
        self._wipe()

    async def put(self, method: str, request: str, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> Artifact:
        """Store an artifact; the same content is stored once.

        Args:
            manifest: JSON values, numpy's numbers included.
            files: contents by plain file name, without folders.

        Raises:
            RegistryError: the disk is full or cannot be written; nothing was stored.
        """
        digest = await self.store(method, request, manifest, files)
        return await asyncio.to_thread(self._get, digest)

    async def store(self, method: str, request: str, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> str:
        """As `put`, but nothing is laid out in clear: the digest."""
        for name in files:
            if not _NAME.fullmatch(name) or name == _MANIFEST:
                raise ValueError(f"not a name for a file of an artifact: {name!r}")
        return await asyncio.to_thread(self._put, method, request, manifest, files)

    async def get(self, digest: str) -> Artifact:
        """An artifact, its files in clear under `folder`.

        Raises:
            RegistryError: there is none, or what is there is damaged.
        """
        if not _DIGEST.fullmatch(digest):
            raise RegistryError("not an artifact's digest")
        return await asyncio.to_thread(self._get, digest)

    async def read(self, digest: str, name: str) -> bytes:
        """One file of an artifact, not laid out in clear.

        Raises:
            RegistryError: as `get`.
        """
        if not (_DIGEST.fullmatch(digest) and _NAME.fullmatch(name)):
            raise RegistryError("not an artifact's digest, or not a name for a file of one")
        return await asyncio.to_thread(self._read, digest, name)

    async def drop(self, digest: str) -> None:
        """Delete an artifact that nothing refers to any more; nothing happens where there is none."""
        if not _DIGEST.fullmatch(digest):
            raise RegistryError("not an artifact's digest")
        await asyncio.to_thread(self._drop, digest)

    async def collect(self, keep: Collection[str], older_than_s: float = 3600.0) -> int:
        """Delete what is not in `keep` and not young; how many that were.

        The young are spared because learning stores an artifact before the registry refers to it.
        """
        return await asyncio.to_thread(self._collect, frozenset(keep), time.time() - older_than_s)

    def _put(self, method: str, request: str, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> str:
        digests = {name: sha256(data).hexdigest() for name, data in sorted(files.items())}
        whole = {"method": method, "request": request, "manifest": manifest, "files": digests}
        text = orjson.dumps(whole, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)
        digest = sha256(text).hexdigest()
        with _ours():
            if not (self._root / digest / _MANIFEST).exists():
                self._store(digest, {**files, _MANIFEST: text})
        return digest

    def _store(self, digest: str, contents: Mapping[str, bytes]) -> None:
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        filling = Path(tempfile.mkdtemp(prefix=".", dir=self._root))
        try:
            for name, data in contents.items():
                _write(filling / name, self._vault.seal(data, f"artifact {digest} {name}"))
            _sync(filling)
            _into_place(filling, self._root / digest)
            _sync(self._root)
        finally:
            shutil.rmtree(filling, ignore_errors=True)

    def _get(self, digest: str) -> Artifact:
        with _ours():
            whole = self._whole(digest)
            folder = self._laid_out(digest, whole["files"]) if whole["files"] else None
        return Artifact(digest, whole["method"], whole["request"], whole["manifest"], folder)

    def _laid_out(self, digest: str, files: Mapping[str, str]) -> Path:
        folder = self._clear / digest
        if not folder.exists():
            filling = Path(tempfile.mkdtemp(dir=self._clear))
            try:
                for name, expected in files.items():
                    (filling / name).write_bytes(self._checked(digest, name, expected))
                with suppress(OSError):  # another thread was first
                    filling.rename(folder)
            finally:
                shutil.rmtree(filling, ignore_errors=True)
        return folder

    def _read(self, digest: str, name: str) -> bytes:
        with _ours():
            expected = self._whole(digest)["files"].get(name)
            if expected is None:
                raise RegistryError(f"artifact {digest[:12]} has no such file")
            return self._checked(digest, name, expected)

    def _whole(self, digest: str) -> dict[str, Any]:
        """The manifest, with what stands around it."""
        whole: dict[str, Any] = orjson.loads(self._checked(digest, _MANIFEST, digest))
        return whole

    def _checked(self, digest: str, name: str, expected: str) -> bytes:
        data = self._open(digest, name)
        if sha256(data).hexdigest() != expected:
            raise RegistryError(f"artifact {digest[:12]} is damaged")
        return data

    def _open(self, digest: str, name: str) -> bytes:
        try:
            sealed = (self._root / digest / name).read_bytes()
        except FileNotFoundError:
            raise RegistryError(f"artifact {digest[:12]} is missing or lacks a file") from None
        return self._vault.unseal(sealed, f"artifact {digest} {name}")

    def _collect(self, keep: frozenset[str], before: float) -> int:
        with _ours():
            if not self._root.exists():
                return 0
            old = [path for path in self._root.iterdir() if path.name not in keep and path.stat().st_mtime < before]
            for path in old:
                self._delete(path)
        return len(old)

    def _drop(self, digest: str) -> None:
        with _ours(), suppress(FileNotFoundError):
            self._delete(self._root / digest)

    def _delete(self, path: Path) -> None:
        # out of sight first, so that it never exists in part
        gone = path.rename(path.with_name("." + path.name.lstrip(".")))
        shutil.rmtree(gone)
        shutil.rmtree(self._clear / path.name, ignore_errors=True)


def _memory() -> Path:
    """A file system that is never written to disk, where there is one."""
    shared = Path("/dev/shm")  # noqa: S108  # private folders are made in it
    return shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())


def _private_folder() -> tuple[Path, int]:
    """A folder of mode 0700 and the lock that says that its owner lives."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_memory()))
        with suppress(FileNotFoundError):  # somebody swept it before it was locked
            if (lock := _locked(folder)) is not None:
                return folder, lock


def _sweep() -> None:
    """Delete what processes that were killed have left in clear."""
    for folder in _memory().glob(_PREFIX + "*"):
        with suppress(FileNotFoundError, PermissionError):  # gone by now, or another user's
            if folder.is_dir() and (lock := _locked(folder)) is not None:
                _wipe(folder, lock)


def _locked(folder: Path) -> int | None:
    """A handle that holds the folder's lock; None while another has it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _wipe(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def _into_place(filled: Path, folder: Path) -> None:
    """A folder that is already there was stored by another process, unless it has lost its manifest."""
    try:
        filled.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if not (folder / _MANIFEST).exists():
            shutil.rmtree(folder)
            filled.rename(folder)


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _ours() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RegistryError(f"artifacts cannot be read or written: {error.strerror}") from None
