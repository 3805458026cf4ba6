"""Assistants that were never trained: a LoRA of random numbers, which changes what is said as well as any."""

import json

import torch
from safetensors.torch import save_file
from torch import nn

from adapters.uld.assistant import Manifest

RANK = 4


def lay(folder, model, blocks, *, seed=0, scale=0.3):
    """A LoRA on every linear layer of the first blocks, in peft's format, and its manifest."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear) and any(f"layers.{i}." in name for i in range(blocks)):
            down = torch.randn(RANK, layer.in_features, generator=generator) / layer.in_features**0.5
            up = torch.randn(layer.out_features, RANK, generator=generator) * scale
            tensors |= {f"base_model.model.{name}.lora_A.weight": down, f"base_model.model.{name}.lora_B.weight": up}
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": RANK, "lora_alpha": RANK}))
    Manifest(blocks, "model").write(folder)
    return folder
