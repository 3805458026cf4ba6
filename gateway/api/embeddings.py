"""OpenAI's embeddings, where the engine gives any: every text is read by the guards, by itself."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from starlette.responses import Response

from adapters.base import Capability, Embedded
from gateway.api.admission import admit, room
from gateway.api.http import Json, Post, core_of, while_listening
from gateway.core import Core
from gateway.errors import BadRequest
from gateway.params import EmbeddingsBody


async def embeddings(request: Request) -> Response:
    """OpenAI's embeddings."""
    core = core_of(request)
    with core.meter.or_refused():
        body, _ = await admit(request, core, EmbeddingsBody)
        if Capability.EMBED not in core.engine.capabilities:
            raise BadRequest("This model gives no embeddings.", param="model")
        texts = body.texts(core.settings.limits)
    found = await while_listening(request, _embedded(core, texts, body.options))
    return Json(_shaped(found, core.engine.name))


routes = (Post(EmbeddingsBody.endpoint, embeddings),)


async def _embedded(core: Core, texts: Sequence[str], options: Mapping[str, Any]) -> Embedded:
    room(core)
    return await core.embed(texts, options)


def _shaped(found: Embedded, model: str) -> dict[str, Any]:
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(found.vectors)],
        "model": model,
        "usage": {"prompt_tokens": found.prompt_tokens, "total_tokens": found.prompt_tokens},
    }
