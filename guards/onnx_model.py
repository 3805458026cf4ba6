"""Makes the model that `guards.onnx_encoder` serves: written down, rounded to int8, and measured. Seconds, once.

Half of the shipped everyday prompts say how large activations are, the other half how far int8
moves the cosines between them. Where that is further than `MEAN` or `MOST`, the model stays in fp32.
"""

import json
from pathlib import Path

import numpy as np

from guards.bert import Bert
from guards.encoder import Floats, Precision
from guards.onnx_encoder import MOST, PROVED, OnnxModel, ordinary
from guards.quantise import Int8, Measuring, by_size, exact

MEAN = 0.006  # how far int8 may move cosines on average


def make(folder: Path, precision: Precision) -> bytes:
    """The folder's BERT as an ONNX model, its notes saying which precision it came to.

    Raises:
        Unsuitable: the folder holds another kind of model.
    """
    bert = Bert.read(folder)
    if precision == "int8":
        rounded, moved = _rounded(bert, folder / "tokenizer.json")
        if moved.mean() <= MEAN and moved.max() <= MOST:
            return rounded
    graph, outputs = bert.graph(exact)
    return graph.model(outputs, _notes(bert, "fp32"))


def _rounded(bert: Bert, tokenizer: Path) -> tuple[bytes, Floats]:
    """The model in int8, and how far it moves each cosine between the prompts that it was not fitted to."""
    prompts = ordinary()
    product = Measuring()
    graph, outputs = bert.graph(product)
    axis = graph.const(np.array([1]))
    largest = [graph.op("ReduceMax", graph.op("Abs", x), axis, keepdims=0) for x in product.inputs.values()]
    outputs["peaks"] = graph.op("Concat", *largest, axis=1)  # (1, all inputs of all products)
    reference = OnnxModel(graph.model(outputs, _notes(bert, "fp32")), tokenizer)
    peaks = reference.run("peaks", prompts[::2]).max(axis=0)
    ends = np.cumsum(list(product.widths.values()))[:-1]
    measured = dict(zip(product.widths, np.split(peaks, ends), strict=True))
    vectors = reference.vectors(prompts[1::2])
    expected: Floats = vectors @ vectors.T
    sorted_bert, sorted_peaks = by_size(bert, measured)
    graph, outputs = sorted_bert.graph(Int8(sorted_peaks))
    made = graph.model(outputs, {**_notes(bert, "int8"), "proof": json.dumps(expected[:PROVED, :PROVED].tolist())})
    vectors = OnnxModel(made, tokenizer).vectors(prompts[1::2])
    return made, np.abs(vectors @ vectors.T - expected)


def _notes(bert: Bert, precision: Precision) -> dict[str, str]:
    return {"precision": precision, "window": str(bert.window), "dim": str(bert.dim)}
