"""The fast path: a BERT on ONNX Runtime, in int8, without torch.

The model is made of the folder's weights at first use, measured against its fp32 form on this
machine, and kept: named by weights, recipe and version, sealed with a digest, moved into place
whole. A file that is damaged, or whose cosines another machine's arithmetic does not reproduce (on
x86 without VNNI, ONNX Runtime's int8 sums may saturate), is made again. Where int8 does not hold,
the fp32 form is kept in its place, and `identity` says so.
"""

import hashlib
import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from guards.encoder import BatchingEncoder, Floats, Precision, Unsuitable

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # looked for while it is loaded; else it would report to its makers
import onnxruntime as ort

VERSION = 1  # of everything that decides a vector beside the weights: a change makes every model anew

MOST = 0.04  # how far int8 may move any cosine
PROVED = 12  # prompts that prove a model at every start: 30 ms

_SEAL = 32  # bytes of digest before the model


class OnnxModel:
    """A model and its tokenizer. Runs on the calling thread, one text at a time; threads may share it."""

    def __init__(self, made: bytes, tokenizer: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session: Any = ort.InferenceSession(made, options, providers=["CPUExecutionProvider"])
        self.notes: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        try:
            self._tokenizer: Any = Tokenizer.from_file(str(tokenizer))
        except Exception:  # which class it raises is not said
            raise Unsuitable("it has no tokenizer.json that can be read") from None
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(int(self.notes["window"]))

    def run(self, output: str, texts: list[str]) -> Floats:
        """One output of the graph for each text, (n, …)."""
        return np.concatenate([self._run(output, text) for text in texts])

    def vectors(self, texts: list[str]) -> Floats:
        """(n, d) unit rows."""
        rows = self.run("vector", texts)
        unit: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def layers(self, texts: list[str]) -> Floats:
        """(n, L, d) means."""
        return self.run("layers", texts)

    def holds(self) -> bool:
        """Whether this machine comes to the cosines that the model's notes say fp32 has."""
        if "proof" not in self.notes:
            return True
        vectors = self.vectors(ordinary()[1::2][:PROVED])
        return bool(np.abs(vectors @ vectors.T - np.array(json.loads(self.notes["proof"]))).max() <= MOST)

    def _run(self, output: str, text: str) -> Floats:
        ids = np.array([self._tokenizer.encode(text).ids], np.int64)
        (row,) = self._session.run([output], {"ids": ids})
        return np.asarray(row, np.float32)


def open_onnx(folder: Path, weights: str, precision: Precision, cache: Path | None, threads: int) -> BatchingEncoder:
    """An encoder of a BERT's folder, which encodes `threads` texts at the same time.

    Args:
        weights: fingerprint of the folder.

    Raises:
        Unsuitable: the folder holds another kind of model.
    """
    path = cache / f"encoder-{weights}-{precision}-{VERSION}.onnx" if cache else None
    made = _read(path) if path else None
    model = OnnxModel(made, folder / "tokenizer.json") if made else None
    if model is None or not model.holds():
        from guards.onnx_model import make  # onnx itself is not needed to serve

        made = make(folder, precision)
        model = OnnxModel(made, folder / "tokenizer.json")
        if path:
            _keep(path, made)
    identity = f"onnx-{model.notes['precision']}-{VERSION}:{weights}"
    return BatchingEncoder(identity, int(model.notes["dim"]), model.vectors, model.layers, workers=threads)


def ordinary() -> list[str]:
    """The shipped everyday prompts."""
    return files("guards").joinpath("ordinary.txt").read_text("utf-8").splitlines()


def _read(path: Path) -> bytes | None:
    """What was kept; None where it is not there, or not whole."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    made = raw[_SEAL:]
    return made if raw[:_SEAL] == _seal(made) else None


def _keep(path: Path, made: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    draft.write_bytes(_seal(made) + made)
    draft.replace(path)


def _seal(made: bytes) -> bytes:
    return hashlib.blake2b(made, digest_size=_SEAL).digest()
