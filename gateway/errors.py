"""One error tree, in OpenAI's shape. Foreign errors become ours here, at the edge, and nowhere else.

A message names the field and the limit, never the text: it is read by clients and logs alike.
"""

import traceback
from pathlib import Path
from typing import Any

from adapters.base import EngineError, EngineRejected, EngineTimeout, EngineUnavailable
from guards.base import LetheError

_ROOT = str(Path(__file__).parent.parent) + "/"


class ApiError(LetheError):
    """What a client is told: a status and OpenAI's error envelope."""

    status = 500
    type = "server_error"
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.code

    def body(self) -> dict[str, Any]:
        """The envelope that OpenAI's clients parse."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class BadRequest(ApiError):
    """The request cannot be read."""

    status, type = 400, "invalid_request_error"


class Unauthorized(ApiError):
    """No key, or one that is not known."""

    status, type, code = 401, "authentication_error", "invalid_api_key"


class Forbidden(ApiError):
    """A key without the scope."""

    status, type, code = 403, "permission_error", "insufficient_scope"


class NotFound(ApiError):
    """Nothing by that name."""

    status, type, code = 404, "invalid_request_error", "not_found"


class Conflict(ApiError):
    """The resource is not in a state that allows it, or exists already."""

    status, type, code = 409, "invalid_request_error", "conflict"


class PreconditionFailed(ApiError):
    """`If-Match` names another version."""

    status, type, code = 412, "invalid_request_error", "precondition_failed"


class TooLarge(ApiError):
    """Over a limit; the message says which."""

    status, type, code = 413, "invalid_request_error", "too_large"


class Invalid(ApiError):
    """Well-formed, but a field is missing, unknown or makes no sense; `param` names it."""

    status, type, code = 422, "invalid_request_error", "invalid_value"


class Overloaded(ApiError):
    """Refused rather than answered unclassified."""

    status, type, code = 429, "rate_limit_error", "overloaded"


class Unavailable(ApiError):
    """A part that is needed does not answer."""

    status, type, code = 503, "server_error", "unavailable"


class TimedOut(ApiError):
    """The engine took too long."""

    status, type, code = 504, "server_error", "timeout"


class Upstream(ApiError):
    """The engine failed."""

    status, type, code = 502, "server_error", "engine_error"


def as_api_error(error: Exception) -> ApiError:
    """The client's view of any exception. What is not ours says nothing of its insides."""
    match error:
        case ApiError():
            return error
        case EngineRejected():
            return BadRequest(str(error), param=error.param)
        case EngineTimeout():
            return TimedOut("The model took too long to answer.")
        case EngineUnavailable():
            return Unavailable("The model is not available. Try again shortly.")
        case EngineError():
            return Upstream("The model failed to answer.")
        case _:
            return ApiError("The server had an error while processing your request.")


def place_of(error: BaseException) -> str:
    """Where it was raised, for a log that quotes nobody: the innermost line of ours, and the innermost of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(_ROOT)]
    shown = (f"{frame.filename.removeprefix(_ROOT)}:{frame.lineno}" for frame in (ours or frames)[-1:] + frames[-1:])
    return " in ".join(dict.fromkeys(shown))
