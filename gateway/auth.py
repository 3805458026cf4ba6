"""Keys and scopes. An inference key may ask; one to evaluate with may be told log-probabilities of given texts, too;
the admin key may do everything.

On loopback without keys inference is open, and an admin key is made at first start and kept in the
state directory with mode 0600. Keys are compared by digest, in constant time.
"""

import hmac
import os
import secrets
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from fastapi import Request

from gateway.errors import Forbidden, Unauthorized
from gateway.settings import Settings, SettingsError


class Scope(StrEnum):
    """What a key may do."""

    INFERENCE = "inference"
    EVALUATE = "evaluate"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a name for the audit log (never the key), what it may do, and whose cached prefixes it shares."""

    name: str
    scopes: frozenset[Scope]
    tenant: str = field(default="anonymous", repr=False)


@dataclass(frozen=True, slots=True)
class Keys:
    """Digests of the keys that are known. No inference keys: inference is open."""

    admin: bytes = field(repr=False)
    inference: tuple[bytes, ...] = field(default=(), repr=False)
    evaluate: tuple[bytes, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, settings: Settings, admin_key: str) -> "Keys":
        """The keys of a gateway."""
        return cls(_digest(admin_key), _digests(settings.api_keys), _digests(settings.evaluate_keys))

    def caller(self, authorization: str | None) -> Caller:
        """Who sent this `Authorization` header.

        Raises:
            Unauthorized: a key that is not known, or none where one is needed.
        """
        scheme, _, key = (authorization or "").partition(" ")
        digest = _digest(key.strip()) if scheme.lower() == "bearer" and key.strip() else None
        if digest and hmac.compare_digest(digest, self.admin):
            return Caller("admin", frozenset(Scope), self._tenant(digest))
        # every key is compared, so that the time taken does not say which one matched
        asks, evaluates = (_among(digest, keys) for keys in (self.inference, self.evaluate))
        if digest and (asks or evaluates):
            scopes = {Scope.INFERENCE, Scope.EVALUATE} if evaluates else {Scope.INFERENCE}
            return Caller(f"key-{digest.hex()[:8]}", frozenset(scopes), self._tenant(digest))
        if not self.inference:  # clients of OpenAI's library always send some key
            return Caller("anonymous", frozenset({Scope.INFERENCE}))
        raise Unauthorized("Incorrect API key provided." if digest else "You didn't provide an API key.")

    def _tenant(self, key: bytes) -> str:
        """The same for one key on every gateway that has this admin key; nobody without it can tell which key."""
        return hmac.digest(self.admin, key, "sha256").hex()


_TAKES = {
    Scope.INFERENCE: "This takes a key.",
    Scope.EVALUATE: "This takes the admin key; scores alone may be asked for with a key to evaluate with.",
    Scope.ADMIN: "This takes the admin key.",
}


def requires(scope: Scope | str) -> Callable[[Request], Awaitable[Caller]]:
    """A FastAPI dependency: the caller, who has this scope."""
    needed = Scope(scope)

    async def caller(request: Request) -> Caller:
        keys: Keys = request.app.state.keys
        found = keys.caller(request.headers.get("authorization"))
        if needed not in found.scopes:
            if found.name == "anonymous":
                raise Unauthorized(_TAKES[needed])
            raise Forbidden(f"This key lacks the scope {needed.value}.")
        return found

    return caller


def admin_key(settings: Settings) -> tuple[str, bool]:
    """The admin key and whether it was made just now."""
    known = known_admin_key(settings)
    return (known, False) if known else _made(settings.state_dir / "admin.key")


def known_admin_key(settings: Settings) -> str | None:
    """The admin key, where there is one: whoever only calls a gateway makes none."""
    path = settings.state_dir / "admin.key"
    if settings.admin_key or not path.exists():
        return settings.admin_key
    return path.read_text().strip()


def _made(path: Path) -> tuple[str, bool]:
    path.parent.mkdir(parents=True, exist_ok=True)
    key = "lethe-admin-" + secrets.token_urlsafe(24)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".")  # mode 0600
    with os.fdopen(handle, "w") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)  # whole or not at all
    except FileExistsError:  # another process made it first
        if not (made := path.read_text().strip()):
            raise SettingsError(f"{path} is empty: delete it, and another key is made") from None
        return made, False
    finally:
        os.unlink(draft)
    return key, True


def _among(digest: bytes | None, keys: tuple[bytes, ...]) -> bool:
    known = [hmac.compare_digest(digest, key) for key in keys] if digest else []
    return any(known)


def _digests(keys: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(map(_digest, keys))


def _digest(key: str) -> bytes:
    return sha256(key.encode()).digest()
