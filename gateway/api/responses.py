"""OpenAI's responses: read as a chat, answered as items. Nothing is kept: what is to be read comes with the request."""

from typing import Any

from fastapi import Request
from starlette.responses import Response

from adapters.base import Call
from gateway.api.generate import serve
from gateway.api.http import Post
from gateway.api.response_frames import ResponsesFrame
from gateway.params import ResponsesBody


async def responses(request: Request) -> Response:
    """OpenAI's responses."""
    return await serve(request, ResponsesBody, _frame)


routes = (Post(ResponsesBody.endpoint, responses),)


def _frame(body: ResponsesBody, call: Call, model: str) -> ResponsesFrame:
    return ResponsesFrame(model, _asked(body, call))


def _asked(body: ResponsesBody, call: Call) -> dict[str, Any]:
    """The settings that an answer repeats, in the client's words; what was left out, by its default, or null."""
    given = body.model_dump(exclude_unset=True)
    format_ = (given.get("text") or {}).get("format") or {"type": "text"}
    effort = body.reasoning.effort if body.reasoning else None
    return {
        "background": False,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": None,
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": None,
        "prompt_cache_key": body.prompt_cache_key,
        "reasoning": {"effort": effort, "summary": None},
        "safety_identifier": body.safety_identifier,
        "service_tier": "default",
        "store": False,
        "temperature": call.sampling.temperature,
        "text": {"format": format_},
        "tool_choice": given.get("tool_choice") or "auto",
        "tools": given.get("tools") or [],
        "top_logprobs": 0,
        "top_p": call.sampling.top_p,
        "truncation": "disabled",
        "user": body.user,
    }
