"""What the registry says when it cannot do its work."""

from gateway.errors import Unavailable


class RegistryError(Unavailable):
    """The registry cannot be read or written just now, or not with this key. Nothing was half-stored."""
