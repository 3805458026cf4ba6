"""create_app(): all wiring, and the lifespan: nothing is answered before everything is enforced."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from starlette.types import ASGIApp

from gateway import admin
from gateway.api import generate, service
from gateway.auth import Keys, admin_key
from gateway.core import Core
from gateway.edge import Edge, install
from gateway.jobs.supervisor import Supervisor
from gateway.settings import Settings


def create_app(settings: Settings) -> ASGIApp:
    """The gateway as an ASGI application."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        core = await Core.open(settings)
        app.state.core, app.state.keys = core, Keys.of(settings, admin_key(settings)[0])
        try:
            await core.start()
            await core.lifecycle.resume()
            async with _running(Supervisor(core)):
                yield
        finally:
            await core.close()

    app = FastAPI(title="Lethe", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    install(app)
    app.include_router(service.router)
    app.include_router(generate.router)
    app.include_router(admin.router)
    return Edge(app, lambda endpoint, status: app.state.core.meter.responded(endpoint, status))


@asynccontextmanager
async def _running(supervisor: Supervisor) -> AsyncIterator[None]:
    task = asyncio.create_task(supervisor.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
