"""A random LoRA of peft's own making, and what a model is with it: what ours is held to."""

import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM


def make_lora(folder: Path, path: Path) -> Path:
    """A LoRA into `path` for the llama in `folder`: of several ranks and scales, and random."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=4,
        lora_alpha=16,
        target_modules=["q_proj", "v_proj", "down_proj"],
        alpha_pattern={"v_proj": 4},
        rank_pattern={"down_proj": 2},
        init_lora_weights=False,
    )
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft reads what transformers has renamed
        get_peft_model(LlamaForCausalLM.from_pretrained(folder), config).save_pretrained(path)
    return path


def merged_at(folder: Path, lora: Path, weight: float) -> Any:
    """The model with the LoRA merged into its weights by peft, at a weight."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        worn = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(folder), lora)
    for module in worn.modules():
        if isinstance(getattr(module, "scaling", None), dict):
            module.scaling = {name: scale * weight for name, scale in module.scaling.items()}
    return worn.merge_and_unload().eval()
