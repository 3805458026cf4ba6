"""From the bytes of a request to a checked body; what is wrong is named by its field, and never quoted."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import orjson
from pydantic import Field, ValidationError

from gateway.errors import BadRequest
from gateway.params.messages import Strict
from gateway.params.table import BY_ENDPOINT, Policy, Row


def _under(*policies: Policy) -> Mapping[str, Mapping[str, Row]]:
    return {
        endpoint: {name: row for name, row in rows.items() if row.policy in policies}
        for endpoint, rows in BY_ENDPOINT.items()
    }


_REFUSED = {False: _under(Policy.REFUSE, Policy.EVALUATE), True: _under(Policy.REFUSE)}  # by who may evaluate


class Body(Strict):
    """A request's body at `endpoint`."""

    endpoint: ClassVar[str]

    model: str = Field(min_length=1)


B = TypeVar("B", bound=Body)


_BRANCHES = frozenset({"str", "int", "float", "NamedTool", "NamedFunction"})  # pydantic's names for those of a union


def read(body: type[B], raw: bytes, evaluates: bool = False) -> B:
    """A body from the bytes of a request; `evaluates`: of somebody who may evaluate.

    Raises:
        BadRequest: not JSON, or a parameter that is missing, unknown, refused or makes no sense; `param` names it.
    """
    try:
        values = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise BadRequest("The body of the request is not valid JSON.") from None
    if not isinstance(values, dict):
        raise BadRequest("The body of the request must be a JSON object.")
    refused = _REFUSED[evaluates][body.endpoint]
    for name in [name for name in values if name in refused]:
        if not refused[name].idle(values.pop(name)):
            raise BadRequest(f"{name} is refused: {refused[name].remark}.", param=name, code="unsupported_parameter")
    try:
        return body.model_validate(values)
    except ValidationError as error:
        field, reason = field_of(error.errors(include_input=False, include_url=False))
        raise BadRequest(f"{field}: {reason}.", param=field) from None


def field_of(errors: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Of pydantic's errors the deepest field at fault, as `messages[0].role`, and why; never its value."""
    found = max(errors, key=lambda item: len(item["loc"]))
    field = ""
    for part in found["loc"]:
        if isinstance(part, int):
            field += f"[{part}]"
        elif part.isidentifier() and part not in _BRANCHES:
            field += f".{part}" if field else part
    reason = {"extra_forbidden": "unknown parameter", "missing": "required"}.get(found["type"], found["msg"])
    return field or "body", reason.rstrip(".")
