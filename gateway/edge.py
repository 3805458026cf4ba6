"""The outermost layer: request ids, counted responses, errors in OpenAI's shape that are silent about insides."""

import logging
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.http import ClientGone, Json
from gateway.errors import BadRequest, Invalid, NotFound, as_api_error, place_of
from gateway.params import field_of
from guards.base import LetheError

log = logging.getLogger("lethe.edge")

_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


class Edge:
    """ASGI middleware around everything. A client's own request id is kept where it is harmless."""

    def __init__(self, app: ASGIApp, responded: Callable[[str, int], None]) -> None:
        self._app = app
        self._responded = responded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _ID.fullmatch(given) else uuid4().hex
        begun = False

        async def stamped(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message = {**message, "headers": [*message["headers"], (b"x-request-id", request_id.encode())]}
                self._responded(_endpoint(scope), message["status"])
            await send(message)

        try:
            await self._app(scope, receive, stamped)
        except Exception as error:  # nobody below knew it: logged by place and type, never by what it says
            log.error("request %s: %s at %s", request_id, type(error).__name__, place_of(error))
            if not begun:
                await Json(as_api_error(error).body(), 500)(scope, receive, stamped)


def install(app: FastAPI) -> None:
    """Every error in OpenAI's envelope."""

    async def ours(request: Request, error: Any) -> Response:
        shown = as_api_error(error)
        headers = {"retry-after": "1"} if shown.status in (429, 503) else None
        return Json(shown.body(), shown.status, headers)

    async def invalid(request: Request, error: Any) -> Response:
        # FastAPI names the place first, "body" or "query"; the field alone is what the caller wrote
        field, reason = field_of([{**item, "loc": item["loc"][1:] or item["loc"]} for item in error.errors()])
        return Json(Invalid(f"{field}: {reason}.", param=field).body(), Invalid.status)

    async def http(request: Request, error: Any) -> Response:
        if error.status_code == 404:
            return Json(NotFound(f"Unknown path: {request.method} {request.url.path}.").body(), 404)
        return Json(BadRequest(str(error.detail)).body(), error.status_code, error.headers)

    async def gone(request: Request, error: Any) -> Response:
        return Response(status_code=499)  # nobody reads it

    app.add_exception_handler(LetheError, ours)
    app.add_exception_handler(Exception, ours)  # answered here, raised again for `Edge` to log
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(ClientGone, gone)


def _endpoint(scope: Scope) -> str:
    """The route's own path, so that no id becomes a label."""
    route = scope.get("route")
    return getattr(route, "path", "unknown")
