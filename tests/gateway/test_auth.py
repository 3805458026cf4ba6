import hmac
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256

import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from gateway import auth
from gateway.auth import Keys, Scope, admin_key, requires
from gateway.errors import Forbidden, Unauthorized
from gateway.settings import Settings, SettingsError

ADMIN, ONE, TWO = "admin-key", "key-one", "key-two"


def keys(*inference):
    return Keys.of(Settings(api_keys=inference), ADMIN)


def test_the_admin_may_do_everything():
    assert keys(ONE).caller(f"Bearer {ADMIN}").scopes == set(Scope)
    assert keys().caller(f"bearer  {ADMIN} ").scopes == set(Scope)


@pytest.mark.parametrize("key", [ONE, TWO])
def test_any_inference_key_may_ask_and_no_more(key):
    caller = keys(ONE, TWO).caller(f"Bearer {key}")
    assert caller.scopes == {Scope.INFERENCE}
    assert key not in repr(caller)


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic a2V5LW9uZQ==", ONE, f"Basic {ONE}", f"Bearer {ONE}x", "Bearer é"]
)
def test_without_a_known_key_nothing_is_answered_where_keys_are_set(header):
    with pytest.raises(Unauthorized):
        keys(ONE).caller(header)


@pytest.mark.parametrize("header", [None, "Bearer whatever", "Bearer "])
def test_inference_is_open_where_no_key_is_set(header):
    assert keys().caller(header).scopes == {Scope.INFERENCE}


def test_a_tenant_is_a_key_that_cannot_be_told_from_it():
    known = keys(ONE, TWO)
    tenants = [known.caller(f"Bearer {key}").tenant for key in (ADMIN, ONE, TWO)]
    assert len({*tenants, "anonymous"}) == 4
    assert keys(ONE).caller(f"Bearer {ONE}").tenant == tenants[1]
    assert Keys.of(Settings(api_keys=(ONE,)), "another").caller(f"Bearer {ONE}").tenant not in tenants
    assert tenants[1] not in repr(known.caller(f"Bearer {ONE}"))
    assert sha256(ONE.encode()).hexdigest() not in tenants


@pytest.mark.parametrize("header", [None, "Bearer one", "Bearer two"])
def test_whoever_needs_no_key_shares_one_tenant(header):
    assert keys().caller(header).tenant == "anonymous"


def test_every_key_is_compared_whichever_matches(monkeypatch):
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(auth.hmac, "compare_digest", lambda a, b: compared.append(b) or real(a, b))
    for key in (ONE, TWO, "none"):
        compared.clear()
        with suppress(Unauthorized):
            keys(ONE, TWO).caller(f"Bearer {key}")
        assert len(compared) == 3, key


def test_keys_are_not_shown():
    assert ONE not in repr(keys(ONE))
    assert ADMIN not in repr(keys(ONE))


async def test_a_scope_is_required():
    app = Starlette()
    app.state.keys = keys(ONE)

    def asked(header):
        return Request({"type": "http", "app": app, "headers": [(b"authorization", header.encode())] if header else []})

    assert (await requires("admin")(asked(f"Bearer {ADMIN}"))).name == "admin"
    with pytest.raises(Forbidden):
        await requires(Scope.ADMIN)(asked(f"Bearer {ONE}"))
    with pytest.raises(Unauthorized):
        await requires(Scope.INFERENCE)(asked(None))
    app.state.keys = keys()
    with pytest.raises(Unauthorized):
        await requires(Scope.EVALUATE)(asked(None))


def test_the_admin_key_is_made_once_and_private(tmp_path):
    settings = Settings(state_dir=tmp_path / "state")
    key, made = admin_key(settings)
    assert made
    assert len(key) > 30
    assert admin_key(settings) == (key, False)
    path = tmp_path / "state" / "admin.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_key_that_is_set_is_not_kept(tmp_path):
    assert admin_key(Settings(state_dir=tmp_path, admin_key="given")) == ("given", False)
    assert not list(tmp_path.iterdir())


def test_two_starts_at_once_agree(tmp_path, monkeypatch):
    (tmp_path / "admin.key").write_text("first\n")
    monkeypatch.setattr(auth.Path, "exists", lambda self: False)  # as seen just before the other made it
    assert admin_key(Settings(state_dir=tmp_path)) == ("first", False)
    assert [path.name for path in tmp_path.iterdir()] == ["admin.key"]


def test_an_empty_key_is_nobodys(tmp_path):
    (tmp_path / "admin.key").write_text("")
    with pytest.raises(SettingsError, match=r"admin\.key is empty: delete it"):
        admin_key(Settings(state_dir=tmp_path))


def test_many_at_once_get_one_key(tmp_path):
    settings = Settings(state_dir=tmp_path)
    with ThreadPoolExecutor(8) as pool:
        found = [key for key, _ in pool.map(lambda _: admin_key(settings), range(8))]
    assert len(set(found)) == 1


def test_a_key_to_evaluate_with_may_ask_and_be_told_log_probabilities():
    known = Keys.of(Settings(api_keys=(ONE,), evaluate_keys=(TWO,)), ADMIN)
    assert known.caller(f"Bearer {TWO}").scopes == {Scope.INFERENCE, Scope.EVALUATE}
    assert known.caller(f"Bearer {ONE}").scopes == {Scope.INFERENCE}
    with pytest.raises(Unauthorized):
        known.caller("Bearer another")
    assert TWO not in repr(known)


def test_keys_to_evaluate_with_close_inference_to_nobody():
    known = Keys.of(Settings(evaluate_keys=(TWO,)), ADMIN)
    assert known.caller(None).scopes == {Scope.INFERENCE}
    assert known.caller(f"Bearer {TWO}").scopes == {Scope.INFERENCE, Scope.EVALUATE}
