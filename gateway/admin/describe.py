"""The API described: OpenAPI, for the admin key, since it also names what clients need not know of."""

from fastapi import Request
from starlette.responses import Response

from gateway.admin.access import Admin, admin_router
from gateway.api.http import Json

router = admin_router("description")


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request, admin: Admin) -> Response:
    """The OpenAPI document of this gateway."""
    return Json(request.app.openapi())
