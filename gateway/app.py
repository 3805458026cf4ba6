"""create_app(): all wiring; running(): nothing is answered before everything is enforced."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from starlette.types import ASGIApp

from gateway import admin
from gateway.api import embeddings, generate, responses, service
from gateway.auth import Keys
from gateway.core import Core
from gateway.edge import Edge, install
from gateway.jobs.supervisor import Supervisor
from gateway.settings import Settings


def create_app(core: Core, keys: Keys) -> ASGIApp:
    """The gateway as an ASGI application, over a core that is running."""
    app = FastAPI(title="Lethe", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.core, app.state.keys = core, keys
    install(app)
    app.router.routes.extend((*generate.routes, *responses.routes, *embeddings.routes))
    app.include_router(service.router)
    app.include_router(admin.router)
    return Edge(app, core.meter.responded)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Core]:
    """A core that enforces all that the registry says, and its supervisor beside it."""
    core = await Core.open(settings)
    try:
        await core.start()
        await core.lifecycle.resume()
        supervising = asyncio.create_task(Supervisor(core).run())
        try:
            yield core
        finally:
            supervising.cancel()
            with suppress(asyncio.CancelledError):
                await supervising
    finally:
        await core.close()
