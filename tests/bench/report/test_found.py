import json

import pytest

from bench.report.found import Found, read
from bench.result import Figure


def test_results_are_read_by_name(stream, tmp_path):
    (tmp_path / "o3.json").write_text(json.dumps(stream))
    found = read(tmp_path)["o3"]
    assert found.figure("leak") == Figure("leak", 5.0, "pt", "<= 2", holds=False)
    assert found.figure("another") is None
    assert found.tables["alone"] == stream["alone"]
    assert "config" not in found.tables


def test_a_file_that_is_no_result_is_an_error(stream):
    del stream["commit"]
    with pytest.raises(KeyError):
        Found.of(stream)
