"""A tiny random llama, a LoRA for it of peft's own making, and training that is exact."""

from functools import partial

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from adapters import course
from tests.tiny_lora import make_lora, merged_at


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """In float32: on a CPU that multiplies bfloat16 losses are off by some thousandths."""
    monkeypatch.setattr(course, "halves", lambda: False)


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
    return make_lora(folder, tmp_path_factory.mktemp("lora"))


@pytest.fixture(scope="session")
def merged(folder, lora):
    """The model with the LoRA merged into its weights by peft, at a weight."""
    return partial(merged_at, folder, lora)
