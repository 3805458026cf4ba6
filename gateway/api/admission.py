"""Which requests are answered at all: a known key, a body that can be read, the model that is served; and room."""

from typing import TypeVar

from fastapi import Request

from gateway.api.http import body_of
from gateway.auth import Caller, Keys, Scope
from gateway.core import Core
from gateway.errors import Forbidden, NotFound, Overloaded
from gateway.params import Body, read

B = TypeVar("B", bound=Body)


async def admit(request: Request, core: Core, kind: type[B]) -> tuple[B, Caller]:
    """The body of the request and who sent it.

    Raises:
        ApiError: it may not be answered.
    """
    keys: Keys = request.app.state.keys
    caller = keys.caller(request.headers.get("authorization"))
    if Scope.INFERENCE not in caller.scopes:
        raise Forbidden("This key may not ask for inference.")
    limits = core.settings.limits
    body = read(kind, await body_of(request, limits.body_bytes), Scope.EVALUATE in caller.scopes)
    if body.model != core.engine.name:
        raise NotFound("The model does not exist.", param="model", code="model_not_found")
    return body, caller


def room(core: Core) -> None:
    """Asked by what goes on to answer without a pause: of many that come at once, each counts before the next asks.

    Raises:
        Overloaded: too many are being answered, or wait for the guards.
    """
    limits = core.settings.limits
    if core.running >= limits.concurrency or core.meter.waiting >= limits.classifying:
        with core.meter.or_refused():
            raise Overloaded("Too many requests are being answered. Try again shortly.")
