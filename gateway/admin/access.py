"""What the admin routes share: who may come in, how much they may send, and the parts behind them."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from gateway.api.http import body_of
from gateway.auth import Caller, Scope, requires
from gateway.core import Core, core_of
from gateway.errors import BadRequest, Invalid
from gateway.jobs.lifecycle import Lifecycle


def lifecycle_of(request: Request) -> Lifecycle:
    """The lifecycle behind a request."""
    found: Lifecycle = request.app.state.lifecycle
    return found


Admin = Annotated[Caller, Depends(requires(Scope.ADMIN))]
Evaluator = Annotated[Caller, Depends(requires(Scope.EVALUATE))]
TheCore = Annotated[Core, Depends(core_of)]
TheLifecycle = Annotated[Lifecycle, Depends(lifecycle_of)]


class _Limited(Request):
    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            self._body = await body_of(self, core_of(self).settings.limits.body_bytes)
        return self._body


class _Route(APIRoute):
    """Bodies within the limit; what is not JSON is a 400."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def limited(request: Request) -> Response:
            try:
                return await handle(_Limited(request.scope, request.receive))
            except RequestValidationError as error:
                if any(item["type"] == "json_invalid" for item in error.errors()):
                    raise BadRequest("The body is not valid JSON.") from None
                raise

        return limited


def admin_router(tag: str) -> APIRouter:
    """A router for one family of admin calls."""
    return APIRouter(prefix="/admin/v1", tags=[tag], route_class=_Route)


def number_of(header: str, value: str, *, prefix: str = "") -> int:
    """The number in a header.

    Raises:
        Invalid: there is none.
    """
    text = value.strip().removeprefix("W/").strip('"').removeprefix(prefix)
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Invalid(f"{header} must hold a number that we gave.", param=header)
    return int(text)
