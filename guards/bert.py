"""BERT as an ONNX graph, written down block by block from the weights: no torch, no exporter, fractions of a second.

One text at a time, so there is no padding and no mask, and a vector depends on nothing but its own
text. The operators are ONNX Runtime's fused ones. How a matrix product is computed is left to
`guards.quantise`. Covers what most small encoders are: post-norm BERT with absolute positions,
exact GELU, mean or [CLS] pooling.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from safetensors import SafetensorError
from safetensors.numpy import load_file

from guards.encoder import Floats, Unsuitable

_RUNTIME = "com.microsoft"
_OPSET, _IR = 18, 9  # old enough for every ONNX Runtime that we allow


class Product(Protocol):
    """Adds x @ weight to a graph, (1, s, k) @ (k, m), and returns the output's name."""

    def __call__(self, graph: "Graph", x: str, name: str, weight: Floats) -> str: ...


class Graph:
    """Nodes and constants as they are added; names come of themselves."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def const(self, values: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        return self.ops(kind, 1, *inputs, domain=domain, **attributes)[0]

    def ops(self, kind: str, count: int, *inputs: str, domain: str = "", **attributes: Any) -> list[str]:
        outputs = [f"n{len(self.nodes)}.{i}" for i in range(count)]
        self.nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **attributes))
        return outputs

    def fused(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """An operator of ONNX Runtime's own."""
        return self.op(kind, *inputs, domain=_RUNTIME, **attributes)

    def model(self, outputs: Mapping[str, str], notes: Mapping[str, str]) -> bytes:
        """A model from `ids` (1, s) to float outputs: name → what it is. `notes` go with it."""
        nodes = [*self.nodes, *(helper.make_node("Identity", [x], [name]) for name, x in outputs.items())]
        graph = helper.make_graph(
            nodes,
            "encoder",
            [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "tokens"])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.constants,
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_RUNTIME, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR)
        helper.set_model_props(model, dict(notes))
        made: bytes = model.SerializeToString()
        return made


@dataclass(frozen=True)
class Bert:
    """Weights and the few numbers that say how they are used. `window`: tokens read of a text."""

    weights: Mapping[str, Floats] = field(repr=False)
    blocks: int
    heads: int
    epsilon: float
    window: int
    cls: bool

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.weights["embeddings.word_embeddings.weight"].shape[1])

    @classmethod
    def read(cls, folder: Path) -> "Bert":
        """Raises `Unsuitable`."""
        try:
            config = json.loads((folder / "config.json").read_text())
            weights = {k.removeprefix("bert."): v.astype(np.float32) for k, v in _tensors(folder).items()}
            pooling = _pooling(folder)
            window = json.loads((folder / "sentence_bert_config.json").read_text()).get("max_seq_length")
            known = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
            for key, value in known.items():
                if config.get(key, value) != value:
                    raise Unsuitable(f"config.json has another {key} than {value}")
            return cls(
                weights,
                blocks=config["num_hidden_layers"],
                heads=config["num_attention_heads"],
                epsilon=config["layer_norm_eps"],
                window=min(window or 1 << 30, config["max_position_embeddings"]),
                cls=pooling == "cls",
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise Unsuitable(f"its files are not those of a BERT ({type(error).__name__})") from None

    def graph(self, product: Product) -> tuple[Graph, dict[str, str]]:
        """From `ids` (1, s) to `layers` (1, L, d), the means of all states, and `vector` (1, d), not normalised."""
        graph = Graph()
        states = self._states(graph, product)
        axis = graph.const(np.array([1]))
        layers = graph.op("Concat", *(graph.op("ReduceMean", state, axis, keepdims=1) for state in states), axis=1)
        pooled = (states[-1], graph.const(0)) if self.cls else (layers, graph.const(-1))
        return graph, {"vector": graph.op("Gather", *pooled, axis=1), "layers": layers}

    def _states(self, graph: Graph, product: Product) -> list[str]:
        """Embeddings, then the output of each block, (1, s, d)."""
        w = self.weights
        places = w["embeddings.position_embeddings.weight"] + w["embeddings.token_type_embeddings.weight"][0]
        length = graph.op("Shape", "ids", start=1, end=2)
        words = graph.op("Gather", graph.const(w["embeddings.word_embeddings.weight"]), "ids")
        x = graph.op("Add", words, graph.op("Slice", graph.const(places), graph.const(np.array([0])), length))
        scale, shift = (graph.const(w[f"embeddings.LayerNorm.{kind}"]) for kind in ("weight", "bias"))
        states = [graph.op("LayerNormalization", x, scale, shift, epsilon=self.epsilon)]
        for i in range(self.blocks):
            states.append(self._block(graph, product, i, states[-1]))
        return states

    def _block(self, graph: Graph, product: Product, i: int, x: str) -> str:
        def weight(name: str) -> Floats:
            return self.weights[f"encoder.layer.{i}.{name}"]

        def normed(y: str, dense: str, norm: str) -> str:  # LayerNorm(y + bias + x)
            constants = (weight(f"{norm}.weight"), weight(f"{norm}.bias"), weight(f"{dense}.bias"))
            return graph.fused("SkipLayerNormalization", y, x, *map(graph.const, constants), epsilon=self.epsilon)

        parts = [f"attention.self.{part}" for part in ("query", "key", "value")]
        packed = np.concatenate([weight(f"{part}.weight") for part in parts]).T
        bias = np.concatenate([weight(f"{part}.bias") for part in parts])
        y = product(graph, x, f"{i}.qkv", packed)
        q, k, v = graph.ops("Split", 3, y, axis=-1, num_outputs=3)
        y = graph.fused("MultiHeadAttention", q, k, v, graph.const(bias), num_heads=self.heads)
        y = product(graph, y, f"{i}.out", weight("attention.output.dense.weight").T)
        x = normed(y, "attention.output.dense", "attention.output.LayerNorm")
        y = product(graph, x, f"{i}.up", weight("intermediate.dense.weight").T)
        y = graph.fused("BiasGelu", y, graph.const(weight("intermediate.dense.bias")))
        y = product(graph, y, f"{i}.down", weight("output.dense.weight").T)
        return normed(y, "output.dense", "output.LayerNorm")


def _tensors(folder: Path) -> dict[str, Floats]:
    return {name: values for name, values in load_file(folder / "model.safetensors").items() if values.ndim}


def _pooling(folder: Path) -> str:
    """`mean` or `cls`; Unsuitable where texts go through anything else."""
    modules = json.loads((folder / "modules.json").read_text())
    kinds = [module["type"].rsplit(".", 1)[-1] for module in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]) or modules[0]["path"]:
        raise Unsuitable(f"modules.json asks for {', '.join(kinds)}")
    prompts = folder / "config_sentence_transformers.json"
    if prompts.is_file() and json.loads(prompts.read_text()).get("default_prompt_name"):
        raise Unsuitable("it puts a prompt before every text")
    if json.loads((folder / "sentence_bert_config.json").read_text()).get("do_lower_case"):
        raise Unsuitable("it lower-cases outside of its tokenizer")
    pooling = json.loads((folder / modules[1]["path"] / "config.json").read_text())
    if isinstance(mode := pooling.get("pooling_mode"), str):  # as sentence-transformers writes it today
        chosen = [mode]
    else:
        chosen = [key.split("_")[2] for key, on in pooling.items() if key.startswith("pooling_mode_") and on]
    if chosen not in (["mean"], ["cls"]):
        raise Unsuitable(f"it pools by {', '.join(chosen)}")
    return chosen[0]
