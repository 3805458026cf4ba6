"""A tiny random llama, and a LoRA for it of peft's own making."""

import warnings

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def model(folder):
    return LlamaForCausalLM.from_pretrained(folder).eval()


@pytest.fixture(scope="session")
def lora(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("lora")
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


@pytest.fixture(scope="session")
def merged(folder, lora):
    """The model with the LoRA merged into its weights by peft, at a weight."""

    def at(weight: float):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            worn = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(folder), lora)
        for module in worn.modules():
            if isinstance(getattr(module, "scaling", None), dict):
                module.scaling = {name: scale * weight for name, scale in module.scaling.items()}
        return worn.merge_and_unload().eval()

    return at
