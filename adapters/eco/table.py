"""The input embeddings of a model, read from its safetensors by memory map: no torch, no other weight.

Gemma scales embeddings as it looks them up, so that a client of `prompt_embeds` must do it; models
that scale inside their forward pass (Granite) must be left alone.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.base import AdapterError, Floats

_NAMES = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight", "tok_embeddings.weight")
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
_SAMPLE = 4096  # rows behind the median norm
_FINGER = 256  # rows in a fingerprint


class EmbeddingTable:
    """Rows of the embedding matrix (V, d), as float32.

    Raises:
        AdapterError: the folder holds no embedding matrix that we can find and read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        file, entry, base = _find(folder)
        if (dtype := _DTYPES.get(entry["dtype"])) is None:
            raise AdapterError(f"embeddings of dtype {entry['dtype']} cannot be read")
        self.bf16 = entry["dtype"] == "BF16"  # how the model keeps them
        offset, shape = base + int(entry["data_offsets"][0]), tuple(entry["shape"])
        self._rows: NDArray[Any] = np.memmap(file, dtype, "r", offset, shape)
        self._scale = _scale(folder, self.width)
        step = max(1, self.size // _SAMPLE)
        norms = np.linalg.norm(self.rows(range(0, self.size, step)), axis=1)
        self.radius = float(np.median(norms))  # median ‖e‖, the unit of corruption strength

    @property
    def size(self) -> int:
        """V, the number of rows."""
        return int(self._rows.shape[0])

    @property
    def width(self) -> int:
        """d, the model's hidden size."""
        return int(self._rows.shape[1])

    @cached_property
    def fingerprint(self) -> str:
        """Which model this is, for what was learned on it: its configuration, and a sample of the rows."""
        sample = self.rows(range(0, self.size, max(1, self.size // _FINGER))).tobytes()
        return sha256((self._folder / "config.json").read_bytes() + sample).hexdigest()[:16]

    def rows(self, token_ids: Sequence[int]) -> Floats:
        """(T, d) float32: what the model itself would look up."""
        raw = self._rows[np.asarray(token_ids, np.int64)]
        # bfloat16 is the upper half of a float32
        wide = (raw.astype(np.uint32) << 16).view(np.float32) if self.bf16 else raw.astype(np.float32)
        return np.asarray(wide * self._scale, np.float32)


def _find(folder: Path) -> tuple[Path, dict[str, Any], int]:
    """The file, the header's entry and the offset of the data: of the one embedding matrix in a folder."""
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            header: dict[str, Any] = json.loads(handle.read(length))
        for name, entry in header.items():
            if name.endswith(_NAMES) and len(entry["shape"]) == 2:
                return file, entry, 8 + length
    raise AdapterError("no input embeddings found among the model's safetensors")


def _scale(folder: Path, width: int) -> float:
    config = json.loads((folder / "config.json").read_text())
    return float(np.sqrt(width)) if str(config.get("model_type", "")).startswith("gemma") else 1.0
