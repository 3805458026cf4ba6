"""What is written without torch is read by torch, bit for bit."""

import io
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gateway.engines.tensors import dumps

SHAPES = st.tuples(st.integers(0, 300), st.integers(1, 300))
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def read(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=True)


def matrix(length: int, width: int) -> Any:
    return np.random.default_rng(0).standard_normal((length, width)).astype(np.float32)


@given(SHAPES)
def test_any_shape_is_read_back(shape: tuple[int, int]) -> None:
    rows = matrix(*shape)
    found = read(dumps(rows))
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    assert not found.requires_grad
    np.testing.assert_array_equal(found.numpy(), rows)


@given(arrays.arrays(np.float32, (3, 5), elements=FLOATS))
def test_bfloat16_is_rounded_as_torch_rounds(rows: Any) -> None:
    found = read(dumps(rows, "bfloat16"))
    assert found.dtype == torch.bfloat16
    assert torch.equal(found.view(torch.int16), torch.from_numpy(rows).to(torch.bfloat16).view(torch.int16))


@pytest.mark.parametrize("bits", [0x3F808000, 0x3F818000, 0x3F807FFF, 0x3F808001, 0x80008000, 0x7F7F7FFF])
def test_ties_go_to_even(bits: int) -> None:
    rows = np.array([[bits]], np.uint32).view(np.float32)
    expected = torch.from_numpy(rows.copy()).to(torch.bfloat16).view(torch.int16)
    assert torch.equal(read(dumps(rows, "bfloat16")).view(torch.int16), expected)


def test_a_slice_brings_only_its_own_values() -> None:
    rows = matrix(1000, 64)
    part = rows[10:14, ::2]
    assert len(dumps(part)) < 2000
    np.testing.assert_array_equal(read(dumps(part)).numpy(), part)


def test_bfloat16_is_half_the_size() -> None:
    rows = matrix(200, 128)
    assert len(dumps(rows)) - len(dumps(rows, "bfloat16")) == pytest.approx(rows.nbytes / 2, abs=16)


def test_equal_rows_give_equal_bytes() -> None:
    assert dumps(matrix(4, 8)) == dumps(matrix(4, 8))


def test_writing_needs_no_torch() -> None:
    code = "import sys, gateway.engines.tensors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
