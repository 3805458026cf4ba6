"""Models, health, readiness, metrics."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from adapters.base import EngineError
from gateway.api.http import Json, core_of
from gateway.auth import Scope, requires
from gateway.errors import NotFound, Unavailable

router = APIRouter()


@router.get("/v1/models")
async def models(request: Request) -> Response:
    """The one model that is served; nothing of how."""
    await requires(Scope.INFERENCE)(request)
    return Json({"object": "list", "data": [_model(core_of(request).engine.name, core_of(request).started)]})


@router.get("/v1/models/{name:path}")
async def model(request: Request, name: str) -> Response:
    """One model by name."""
    await requires(Scope.INFERENCE)(request)
    core = core_of(request)
    if name != core.engine.name:
        raise NotFound("The model does not exist.", param="model", code="model_not_found")
    return Json(_model(name, core.started))


@router.get("/health")
async def health() -> Response:
    """The process answers."""
    return Json({"status": "ok"})


@router.get("/ready")
async def ready(request: Request) -> Response:
    """The policy is in force and the engine can serve."""
    try:
        await core_of(request).engine.health()
    except EngineError:
        raise Unavailable("The model is not available.") from None
    return Json({"status": "ready"})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus' text; for the admin key alone where there are `api_keys` or another machine can connect."""
    core = core_of(request)
    if core.settings.api_keys or not core.settings.loopback:
        await requires(Scope.ADMIN)(request)
    return Response(core.meter.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _model(name: str, created: int) -> dict[str, object]:
    return {"id": name, "object": "model", "created": created, "owned_by": "system"}
