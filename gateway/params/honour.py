"""Which options go further: those that the engine honours and, where a question is touched, that force nothing."""

from collections.abc import Collection, Mapping
from dataclasses import replace

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


def restricted(call: Call) -> Call:
    """A touched call, without the options by which an answer could be forced out of the model."""
    if RESTRICTED.isdisjoint(call.options):
        return call
    return replace(call, options={name: value for name, value in call.options.items() if name not in RESTRICTED})
