"""The assistant of ULD: the first K blocks of a causal model between its own embedding, norm and head.

a(x) = head(norm(block_K(... block_1(embedding(x))))), all of it the target's and frozen; only the LoRA on
the blocks is the assistant's own (arXiv 2406.08607, section 3.3), so that a folder holds a few MB and
without its LoRA the assistant is an early exit. Departure: tensors are shared, modules are not, so that
what wraps or hooks an assistant (peft while it learns, `adapters.lora` while it serves) leaves the target
as it is. Any model built like Llama (embed_tokens, layers, norm, rotary_emb, lm_head) has one.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from adapters.base import AdapterError
from adapters.weights import skeleton

_MANIFEST = "uld.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a LoRA in peft's format lacks to be an assistant: how many `blocks`, of which `model` (a fingerprint)."""

    blocks: int
    model: str

    @classmethod
    def read(cls, folder: Path) -> Self:
        """
        Raises:
            AdapterError: there is no assistant in the folder.
        """
        try:
            found = json.loads((folder / _MANIFEST).read_text())
            return cls(int(found["blocks"]), str(found["model"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise AdapterError(f"there is no assistant in {folder.name}") from error

    def write(self, folder: Path) -> None:
        (folder / _MANIFEST).write_text(json.dumps(asdict(self)))


def default_blocks(config: Any) -> int:
    """K where none is given: a quarter of the model's blocks, as in the paper, and one at least."""
    return max(1, int(config.num_hidden_layers) // 4)


def shell(model: Any, blocks: int) -> Any:
    """A causal LM of the first blocks of `model`, on the same tensors: it takes no memory of its own.

    Raises:
        AdapterError: the model has no such assistant.
    """
    return _filled(_skeleton(model.config, blocks), model.state_dict())


def load(folder: Path, blocks: int, device: torch.device, dtype: torch.dtype) -> Any:
    """The same of the model in `folder`; nothing is read of its files but these blocks, embedding, norm and head.

    Raises:
        AdapterError: there is no such model, or it has no such assistant.
    """
    from transformers import AutoConfig

    try:
        made = _skeleton(AutoConfig.from_pretrained(folder, local_files_only=True), blocks)
        tensors = _read(folder, made.state_dict().keys(), device, dtype)
    except AdapterError:
        raise
    except Exception as error:  # whatever is wrong with the files
        raise AdapterError(f"no assistant can be read from the model in {folder.name}") from error
    return _filled(made, tensors)


def _skeleton(config: Any, blocks: int) -> Any:
    """The model without its tensors."""
    whole = config.num_hidden_layers
    if not 1 <= blocks <= whole:
        raise AdapterError(f"an assistant has between 1 and {whole} blocks")
    if getattr(config, "quantization_config", None):
        raise AdapterError("the weights of this model are quantized")
    config = deepcopy(config)
    config.num_hidden_layers = blocks
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:blocks]
    return skeleton(config)


def _filled(made: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The skeleton on these tensors, frozen, as it serves."""
    tied = made.config.tie_word_embeddings and "lm_head.weight" not in tensors
    source = {"lm_head.weight": "model.embed_tokens.weight"} if tied else {}
    try:
        made.load_state_dict({name: tensors[source.get(name, name)] for name in made.state_dict()}, assign=True)
        rotary = made.model.rotary_emb
    except (KeyError, RuntimeError, AttributeError) as error:
        raise AdapterError("this model is not built as an assistant must be") from error
    made.model.rotary_emb = type(rotary)(made.config).to(made.device)  # computed, not among the tensors
    if any(buffer.is_meta for buffer in made.buffers()):
        raise AdapterError("this model is not built as an assistant must be")
    return made.requires_grad_(False).eval()


def _read(folder: Path, names: Collection[str], device: torch.device, dtype: torch.dtype) -> Mapping[str, Tensor]:
    """Those of the named tensors that the folder has, in one file or several."""
    from safetensors import safe_open

    index = folder / "model.safetensors.index.json"
    shards: dict[str, list[str]] = defaultdict(list)
    if index.exists():
        for name, shard in json.loads(index.read_text())["weight_map"].items():
            shards[shard].append(name)
    else:
        with safe_open(folder / "model.safetensors", "pt") as file:
            shards["model.safetensors"] += file.keys()
    tensors: dict[str, Tensor] = {}
    for shard, held in shards.items():
        if wanted := [name for name in held if name in names]:
            with safe_open(folder / shard, "pt", device=str(device)) as file:
                tensors |= {name: file.get_tensor(name).to(dtype) for name in wanted}
    return tensors
