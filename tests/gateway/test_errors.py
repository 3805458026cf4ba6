import pytest

from adapters.base import AdapterError, EngineError, EngineRejected, EngineTimeout, EngineUnavailable
from gateway import errors
from gateway.errors import ApiError, as_api_error
from guards.base import GuardError, LetheError

SECRET = "Mara Lindqvist"
OURS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ApiError)]


@pytest.mark.parametrize("kind", OURS)
def test_every_error_has_openais_shape_and_a_status(kind):
    error = kind("message", param="field")
    assert error.body()["error"] == {"message": "message", "type": kind.type, "param": "field", "code": kind.code}
    assert 400 <= error.status < 600
    assert (error.status >= 500) == (kind.type == "server_error")
    assert as_api_error(error) is error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (EngineTimeout(SECRET), 504),
        (EngineUnavailable(SECRET), 503),
        (EngineError(SECRET), 502),
        (AdapterError(SECRET), 500),
        (GuardError(SECRET), 500),
        (LetheError(SECRET), 500),
        (RuntimeError(SECRET), 500),
        (KeyError(SECRET), 500),
    ],
)
def test_what_is_not_for_clients_says_nothing(error, status):
    shown = as_api_error(error)
    assert shown.status == status
    assert SECRET not in str(shown.body())


def test_a_refusal_of_the_engine_names_the_field():
    shown = as_api_error(EngineRejected("the prompt is too long", "messages"))
    assert (shown.status, shown.param, shown.message) == (400, "messages", "the prompt is too long")


def test_a_code_of_its_own_wins():
    assert errors.NotFound("no", code="model_not_found").body()["error"]["code"] == "model_not_found"
