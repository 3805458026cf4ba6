"""Encryption of everything personal: AES-256-GCM at rest, HMAC-SHA-256 where equality must be seen.

Every sealed value is bound to the place it belongs to, so that rows cannot be swapped. The two
working keys are derived from one master key by HKDF.
"""

import base64
import binascii
import hmac
import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.registry.errors import RegistryError

_KEY_BYTES = 32
_NONCE_BYTES = 12


class Vault:
    """Seals and unseals bytes under one master key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise RegistryError(f"the registry key must be {_KEY_BYTES} bytes, base64-encoded")
        self._cipher = AESGCM(_derived(key, b"lethe seal"))
        self._mac = _derived(key, b"lethe fingerprint")

    @classmethod
    def open(cls, key: str | None, state_dir: Path) -> "Vault":
        """The vault under `key` (base64), or under the one kept in the state directory, made on first use.

        Raises:
            RegistryError: the key is not 32 bytes in base64, or its file cannot be read or made.
        """
        if key is None:
            try:
                key = _kept(state_dir / "registry.key")
            except OSError as error:
                raise RegistryError(f"cannot read or make registry.key: {error.strerror}") from None
        try:
            return cls(base64.b64decode(key, validate=True))
        except (binascii.Error, ValueError):
            raise RegistryError(f"the registry key must be {_KEY_BYTES} bytes, base64-encoded") from None

    def seal(self, data: bytes, place: str) -> bytes:
        """Encrypted, and bound to `place`: nonce (12 bytes), then ciphertext and tag."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, data, place.encode())

    def unseal(self, sealed: bytes, place: str) -> bytes:
        """What was sealed for this place.

        Raises:
            RegistryError: another key, another place, or altered bytes.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.encode())
        except (InvalidTag, ValueError):
            raise RegistryError("a stored value does not open: it was altered, or sealed with another key") from None

    def seal_json(self, data: Any, place: str) -> bytes:
        """Any JSON value (numpy's numbers too), sealed."""
        return self.seal(orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY), place)

    def unseal_json(self, sealed: bytes, place: str) -> Any:
        """What `seal_json` sealed for this place."""
        return orjson.loads(self.unseal(sealed, place))

    def fingerprint(self, data: bytes, purpose: str) -> str:
        """64 hex digits; equal for equal data under one purpose, and meaningless without the key."""
        return hmac.digest(self._mac, purpose.encode() + b"\0" + data, "sha256").hex()


def _derived(key: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=info).derive(key)


def _kept(path: Path) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".registry.key.")  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(base64.b64encode(secrets.token_bytes(_KEY_BYTES)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process made it first
                os.link(name, path)  # whole or not at all
        finally:
            os.unlink(name)
    return path.read_text().strip()
