import asyncio
import os
import shutil
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.registry import Artifacts, RegistryError, Vault

SECRET = b"Zyxwvut Undernamed"


@pytest.fixture
def artifacts(tmp_path):
    opened = Artifacts(tmp_path / "artifacts", Vault(b"k" * 32))
    yield opened
    opened.close()


def files_in(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


async def test_an_artifact_comes_back(artifacts, tmp_path):
    made = await artifacts.put("eco", "fr_1", {"strength": np.float32(0.5), "n": [1]}, {"head.npz": SECRET, "b": b""})
    assert (made.method, made.request, made.manifest) == ("eco", "fr_1", {"strength": 0.5, "n": [1]})
    assert files_in(made.folder) == {"head.npz": SECRET, "b": b""}
    again = Artifacts(tmp_path / "artifacts", Vault(b"k" * 32))
    found = await again.get(made.digest)
    assert (found.digest, found.manifest, files_in(found.folder)) == (
        made.digest,
        made.manifest,
        files_in(made.folder),
    )
    assert found.folder != made.folder
    again.close()


async def test_without_files_there_is_no_folder(artifacts):
    assert (await artifacts.put("eco", "fr_1", {}, {})).folder is None


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.dictionaries(st.from_regex(r"[a-z]{1,8}\.bin", fullmatch=True), st.binary(max_size=50), max_size=3))
async def test_the_digest_is_the_content(artifacts, contents):
    one = await artifacts.put("o3", "fr_1", {"a": 1, "b": 2}, contents)
    assert await artifacts.put("o3", "fr_1", {"b": 2, "a": 1}, dict(reversed(contents.items()))) == one
    others = [("o3", "fr_2", {"a": 1, "b": 2}, contents), ("o3", "fr_1", {"a": 1}, contents)]
    others += [("o3", "fr_1", {"a": 1, "b": 2}, {**contents, "more": b""})]
    assert one.digest not in {(await artifacts.put(*other)).digest for other in others}


async def test_nothing_lies_on_disk_in_clear_and_clear_files_go(artifacts, tmp_path):
    made = await artifacts.put("eco", "fr_1", {"about": SECRET.decode()}, {"x": SECRET})
    assert all(SECRET not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert stat.S_IMODE(made.folder.parent.stat().st_mode) == 0o700
    artifacts.close()
    assert not made.folder.exists()


async def test_what_cannot_be_laid_out_leaves_nothing_in_clear(artifacts, tmp_path):
    made = await artifacts.put("o3", "fr_1", {}, {"a": SECRET, "b": SECRET})
    again = Artifacts(tmp_path / "artifacts", Vault(b"k" * 32))
    (tmp_path / "artifacts" / made.digest / "b").unlink()
    with pytest.raises(RegistryError, match="lacks a file"):
        await again.get(made.digest)
    assert not [*again._clear.iterdir()]
    again.close()


async def test_a_folder_without_its_manifest_does_not_exist(artifacts, tmp_path):
    made = await artifacts.put("eco", "fr_1", {}, {"x": b"1"})
    (tmp_path / "artifacts" / made.digest / "manifest").unlink()
    with pytest.raises(RegistryError, match="missing"):
        await artifacts.get(made.digest)
    await artifacts.put("eco", "fr_1", {}, {"x": b"1"})
    assert (await artifacts.get(made.digest)).manifest == {}


@pytest.mark.parametrize("name", ["manifest", "x"])
async def test_damage_is_found(artifacts, tmp_path, name):
    made = await artifacts.put("eco", "fr_1", {}, {"x": b"1"})
    path = tmp_path / "artifacts" / made.digest / name
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    shutil.rmtree(made.folder)
    with pytest.raises(RegistryError):
        await artifacts.get(made.digest)


async def test_one_artifact_does_not_pass_for_another(artifacts, tmp_path):
    one, two = await artifacts.put("eco", "fr_1", {}, {}), await artifacts.put("eco", "fr_2", {}, {})
    root = tmp_path / "artifacts"
    shutil.copy(root / one.digest / "manifest", root / two.digest / "manifest")
    with pytest.raises(RegistryError):
        await artifacts.get(two.digest)


@pytest.mark.parametrize("digest", ["", "../../etc", "0" * 63, "g" * 64])
async def test_only_a_digest_is_looked_up(artifacts, digest):
    with pytest.raises(RegistryError):
        await artifacts.get(digest)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "manifest"])
async def test_only_plain_names_are_stored(artifacts, name):
    with pytest.raises(ValueError, match="not a name"):
        await artifacts.put("eco", "fr_1", {}, {name: b""})


async def test_a_failed_write_leaves_nothing(artifacts, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RegistryError, match="No space left"):
        await artifacts.put("eco", "fr_1", {}, {"x": b"1"})
    assert list((tmp_path / "artifacts").iterdir()) == []


async def test_what_nothing_refers_to_is_collected_unless_young(artifacts, tmp_path):
    kept, old, young = [await artifacts.put("eco", f"fr_{i}", {}, {"x": b"1"}) for i in range(3)]
    (tmp_path / "artifacts" / ".crashed").mkdir()
    for name in (kept.digest, old.digest, ".crashed"):
        os.utime(tmp_path / "artifacts" / name, (1, 1))
    assert await artifacts.collect({kept.digest}) == 2
    assert {path.name for path in (tmp_path / "artifacts").iterdir()} == {kept.digest, young.digest}
    assert not old.folder.exists()
    with pytest.raises(RegistryError):
        await artifacts.get(old.digest)


async def test_what_was_replaced_is_dropped_at_once(artifacts, tmp_path):
    kept, gone = [await artifacts.put("eco", f"fr_{i}", {}, {"x": b"1"}) for i in range(2)]
    for _ in range(2):
        await artifacts.drop(gone.digest)
    assert {path.name for path in (tmp_path / "artifacts").iterdir()} == {kept.digest}
    assert not gone.folder.exists()
    assert kept.folder.exists()
    with pytest.raises(RegistryError, match="digest"):
        await artifacts.drop("../keys")


KILLED = """
import asyncio, os, sys
from pathlib import Path
from gateway.registry import Artifacts, Vault

async def main():
    artifacts = Artifacts(Path(sys.argv[1]), Vault(b"k" * 32))
    made = await artifacts.put("eco", "fr_1", {}, {"x": b"1"})
    print(made.folder, flush=True)
    os._exit(9)

asyncio.run(main())
"""


async def test_what_a_killed_process_left_in_clear_is_deleted_by_the_next(artifacts, tmp_path):
    mine = await artifacts.put("eco", "fr_1", {}, {"x": b"1"})
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, tmp_path / "artifacts", stdout=asyncio.subprocess.PIPE
    )
    said, _ = await killed.communicate()
    left = said.decode().strip()
    assert os.listdir(left) == ["x"]
    Artifacts(tmp_path / "artifacts", Vault(b"k" * 32)).close()
    with pytest.raises(FileNotFoundError):
        os.listdir(left)
    assert os.listdir(mine.folder) == ["x"]
