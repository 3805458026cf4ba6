"""What the admin routes share: who may come in, how much they may send, and the parts behind them."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.routing import APIRoute

from gateway.api.http import body_of, core_of
from gateway.auth import Caller, Scope, requires
from gateway.core import Core
from gateway.errors import BadRequest, Invalid

# asynchronous, because FastAPI sends what is not through a thread


async def _core(request: Request) -> Core:
    return core_of(request)


Admin = Annotated[Caller, Depends(requires(Scope.ADMIN))]
Evaluator = Annotated[Caller, Depends(requires(Scope.EVALUATE))]
TheCore = Annotated[Core, Depends(_core)]
Number = Annotated[int, Query(ge=0, lt=2**63)]  # what a database can compare with


class _Read(Request):
    """A request whose body was read already."""

    def __init__(self, request: Request, body: bytes) -> None:
        super().__init__(request.scope, request.receive)
        self._whole = body

    async def body(self) -> bytes:
        return self._whole


class _Route(APIRoute):
    """Bodies within the limit; what is not JSON is a 400."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def limited(request: Request) -> Response:
            await requires(Scope.EVALUATE)(request)  # before a byte of the body; the route may ask for more
            # read here, because FastAPI would make a 400 of a body that is too large
            body = await body_of(request, core_of(request).settings.limits.body_bytes)
            try:  # strictly: FastAPI's own parser lets half surrogates through, which no answer can repeat
                orjson.loads(body or b"null")
            except orjson.JSONDecodeError:
                raise BadRequest("The body is not valid JSON.") from None
            return await handle(_Read(request, body))

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
