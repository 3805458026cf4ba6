"""Which options go further: those that the engine honours, and which of them never meet a touched prompt."""

from collections.abc import Collection, Mapping

from adapters.base import Call
from gateway.errors import BadRequest
from gateway.params.table import RESTRICTED


def honoured(call: Call, options: Collection[str], spelled: Mapping[str, str]) -> Call:
    """The call, all of whose options are among an engine's `options`.

    Args:
        spelled: what the client called an option that has another name in `Call.options`.

    Raises:
        BadRequest: one is not; `param` is the client's own word for it.
    """
    for name in call.options:
        if name not in options:
            param = spelled.get(name, name)
            raise BadRequest(f"This model does not support {param}.", param=param, code="unsupported_parameter")
    return call


def restricted(call: Call) -> bool:
    """Whether the call has options by which an answer could be forced out of the model."""
    return not RESTRICTED.isdisjoint(call.options)
