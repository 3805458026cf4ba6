"""How an encoder's matrix products are computed: exactly, or in int8 that keeps its cosines.

Weights: int8, symmetric, one scale per column. Activations: uint8, one scale per text, found when
it is read (ONNX Runtime's DynamicQuantizeMatMul). Alone, that puts cosines off by 0.009 on average
(TOFU's questions against each other and everyday prompts, MiniLM), because a few channels are ten
times as large as the rest. Two remedies, 0.003 together:

- SmoothQuant (Xiao et al. 2023): x W = (x / s)(s W) with s_j = max|x_j|^a / max|W_j|^(1 - a), a = 0.65.
  Departure: s is not folded into the LayerNorm before, whose output the residual needs as it is.
- LLM.int8() (Dettmers et al. 2022) for what follows the GELU: the columns with the largest
  activations are multiplied in fp32. Departure: the columns are the same for every text, and the
  block's neurons are sorted by size, so that the split is one cut and nothing is gathered.

Peaks |x_j| are measured on the shipped everyday prompts. What this rounds away on a machine is
measured when the model is made (`guards.onnx_encoder`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from guards.bert import Bert, Graph
from guards.encoder import Floats

_SMOOTH = 0.65
_EXACT = 64  # of a block's neurons


def exact(graph: Graph, x: str, name: str, weight: Floats) -> str:
    """A product in fp32."""
    return graph.op("MatMul", x, graph.const(weight))


@dataclass
class Measuring:
    """A product in fp32. `inputs` and `widths` collect, for each product, the left side's name and its columns."""

    inputs: dict[str, str] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)

    def __call__(self, graph: Graph, x: str, name: str, weight: Floats) -> str:
        self.inputs[name], self.widths[name] = x, len(weight)
        return exact(graph, x, name, weight)


@dataclass(frozen=True)
class Int8:
    """A product in int8. `peaks`: for each product, the largest |x_j| of each of its k inputs."""

    peaks: Mapping[str, Floats] = field(repr=False)

    def __call__(self, graph: Graph, x: str, name: str, weight: Floats) -> str:
        if not name.endswith("down"):
            rows = np.abs(weight).max(axis=1)
            smooth = np.maximum(self.peaks[name], 1e-3) ** _SMOOTH / np.maximum(rows, 1e-3) ** (1 - _SMOOTH)
            x = graph.op("Mul", x, graph.const((1 / smooth).astype(np.float32)))
            return _rounded(graph, x, weight * smooth[:, None])
        exactly = min(_EXACT, len(weight) // 2)
        large, small = graph.ops("Split", 2, x, graph.const(np.array([exactly, len(weight) - exactly])), axis=-1)
        rounded = _rounded(graph, small, weight[exactly:])
        return graph.op("Add", rounded, exact(graph, large, name, weight[:exactly]))


def by_size(bert: Bert, peaks: Mapping[str, Floats]) -> tuple[Bert, dict[str, Floats]]:
    """The same function with every block's neurons sorted, largest activations first; and their peaks."""
    weights, sorted_peaks = dict(bert.weights), dict(peaks)
    for i in range(bert.blocks):
        order = np.argsort(-peaks[f"{i}.down"], kind="stable")
        block = f"encoder.layer.{i}."
        for name in ("intermediate.dense.weight", "intermediate.dense.bias"):
            weights[block + name] = weights[block + name][order]
        weights[block + "output.dense.weight"] = weights[block + "output.dense.weight"][:, order]
        sorted_peaks[f"{i}.down"] = peaks[f"{i}.down"][order]
    return replace(bert, weights=weights), sorted_peaks


def _rounded(graph: Graph, x: str, weight: Floats) -> str:
    scale = np.maximum(np.abs(weight).max(axis=0), 1e-9) / 127
    steps = np.rint(weight / scale).astype(np.int8)
    zero = np.zeros(len(scale), np.int8)
    constants = (graph.const(values) for values in (steps, scale.astype(np.float32), zero))
    return graph.fused("DynamicQuantizeMatMul", x, *constants)
