"""What `torch.save` writes of a matrix, written without torch: a gateway before a remote engine has none.

The format is a zip archive of stored records. `data.pkl` is a pickle that rebuilds the tensor from its
storage, whose bytes are the record `data/0`. The pickle is written opcode by opcode, as its classes are
torch's; `torch.load(weights_only=True)` reads it.
"""

import io
import pickle
import zipfile
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adapters.base import Floats

Dtype = Literal["float32", "bfloat16"]

_STORAGES: dict[Dtype, bytes] = {"float32": b"FloatStorage", "bfloat16": b"BFloat16Storage"}


def dumps(rows: Floats, dtype: Dtype = "float32") -> bytes:
    """A contiguous CPU tensor as `torch.save` writes it.

    Args:
        rows: (T, d), finite.
        dtype: of the tensor. bfloat16 is rounded to nearest, ties to even, as torch does: half the bytes, and
            exact only where the reader computes in bfloat16.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, record in (
            ("data.pkl", _pickle(rows.shape, dtype)),
            ("byteorder", b"little"),
            ("data/0", _storage(rows, dtype)),
            ("version", b"3\n"),
        ):
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), record)  # a fixed date: equal rows give equal bytes
    return file.getvalue()


def _storage(rows: Floats, dtype: Dtype) -> bytes:
    """The values in C order, little-endian."""
    if dtype == "float32":
        return np.ascontiguousarray(rows, "<f4").tobytes()
    bits: NDArray[np.uint32] = np.ascontiguousarray(rows, "<f4").view("<u4")
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()


def _pickle(shape: tuple[int, ...], dtype: Dtype) -> bytes:
    """`_rebuild_tensor_v2(storage, 0, shape, stride, False, OrderedDict())`, protocol 2."""
    length, width = shape
    storage = b"(" + _plain("storage") + _global(b"torch", _STORAGES[dtype]) + _plain("0") + _plain("cpu")
    storage += _plain(length * width) + b"tQ"  # a tuple, taken as a persistent id
    hooks = _global(b"collections", b"OrderedDict") + b")R"
    arguments = b"(" + storage + _plain(0) + _plain(shape) + _plain((width, 1)) + _plain(False) + hooks + b"t"
    return b"\x80\x02" + _global(b"torch._utils", b"_rebuild_tensor_v2") + arguments + b"R."


def _global(module: bytes, name: bytes) -> bytes:
    return b"c" + module + b"\n" + name + b"\n"


def _plain(value: object) -> bytes:
    """The opcodes of a plain value, without the frame of a whole pickle."""
    return pickle.dumps(value, protocol=2)[2:-1]
