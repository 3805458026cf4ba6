"""A client of a running gateway's admin API, for the command line, the demo and the benchmarks."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from gateway.auth import known_admin_key
from gateway.settings import Settings
from guards.base import LetheError

IDLE_S = 3.0  # shorter than uvicorn's five: no request is sent where the server is about to hang up


class ClientError(LetheError):
    """The gateway does not answer, or answered with an error; the message says what mends it."""


class AdminClient:
    """Speaks JSON with the admin key. An async context manager."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers={"authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(60, connect=3),
            limits=httpx.Limits(keepalive_expiry=IDLE_S),
        )

    @classmethod
    def of(cls, settings: Settings, url: str | None = None) -> Self:
        """For the gateway that these settings describe."""
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        if (key := known_admin_key(settings)) is None:
            raise ClientError(
                f"no admin key in {settings.state_dir}: set LETHE_ADMIN_KEY, or LETHE_STATE_DIR to the gateway's own"
            )
        return cls(url or f"http://{host}:{settings.port}", key)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON at a path under /admin/v1."""
        return await self._send("GET", path, params=params)

    async def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """What a POST under /admin/v1 answers."""
        return await self._send("POST", path, json=body, headers=headers)

    async def _send(self, method: str, path: str, **more: Any) -> Any:
        try:
            response = await self._http.request(method, f"/admin/v1{path}", **more)
        except httpx.TransportError:
            raise ClientError(f"no gateway answers at {self.url}: start one with `lethe serve`") from None
        if response.is_error:
            raise ClientError(_reason(response))
        return response.json()


def _reason(response: httpx.Response) -> str:
    try:
        error = response.json()["error"]
        return f"{response.status_code}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code}"
