import base64
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.registry import RegistryError, Vault

ONE, OTHER = Vault(b"1" * 32), Vault(b"2" * 32)


@given(st.binary(max_size=300), st.text(max_size=20))
def test_what_is_sealed_opens_in_its_place_only(data, place):
    sealed = ONE.seal(data, place)
    assert ONE.unseal(sealed, place) == data
    assert sealed != ONE.seal(data, place)
    with pytest.raises(RegistryError):
        ONE.unseal(sealed, place + "x")
    with pytest.raises(RegistryError):
        OTHER.unseal(sealed, place)


@given(st.binary(max_size=100), st.data())
def test_no_altered_byte_goes_unseen(data, draw):
    sealed = bytearray(ONE.seal(data, "here"))
    sealed[draw.draw(st.integers(0, len(sealed) - 1))] ^= draw.draw(st.integers(1, 255))
    with pytest.raises(RegistryError):
        ONE.unseal(bytes(sealed), "here")


@given(st.binary(max_size=40))
def test_truncated_values_are_refused(data):
    with pytest.raises(RegistryError):
        ONE.unseal(data, "here")


def test_fingerprints_depend_on_key_and_purpose():
    assert ONE.fingerprint(b"x", "a") == ONE.fingerprint(b"x", "a")
    assert len({ONE.fingerprint(b"x", "a"), ONE.fingerprint(b"x", "b"), OTHER.fingerprint(b"x", "a")}) == 3


def test_the_kept_key_is_private_and_found_again(tmp_path):
    sealed = Vault.open(None, tmp_path).seal(b"data", "here")
    assert stat.S_IMODE(os.stat(tmp_path / "registry.key").st_mode) == 0o600
    assert os.listdir(tmp_path) == ["registry.key"]
    assert Vault.open(None, tmp_path).unseal(sealed, "here") == b"data"


@pytest.mark.parametrize("key", ["", "short", base64.b64encode(b"x" * 31).decode(), "é" * 44])
def test_a_bad_key_is_named_and_not_shown(key, tmp_path):
    with pytest.raises(RegistryError, match="registry key must be 32 bytes") as caught:
        Vault.open(key, tmp_path)
    assert not key or key not in str(caught.value)


def test_a_key_file_out_of_reach_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match=r"registry\.key"):
        Vault.open(None, tmp_path / "file")
