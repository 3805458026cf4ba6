import json

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from adapters.base import AdapterError
from adapters.uld.assistant import Manifest, default_blocks, load, shell

IDS = torch.tensor([[5, 9, 41, 12, 30, 8, 1, 2, 44]])
CPU, FULL = torch.device("cpu"), torch.float32
kinds = pytest.mark.parametrize("kind", ["llama", "llama, tied", "qwen2, window of 6", "qwen3", "mistral, window of 6"])


def early_exit(model, blocks):
    """The logits of the model with the blocks above gone, by its own forward pass."""
    layers = model.model.layers
    model.model.layers = nn.ModuleList(layers[:blocks])
    before, model.config.num_hidden_layers = model.config.num_hidden_layers, blocks
    try:
        return model(input_ids=IDS, use_cache=False).logits
    finally:
        model.model.layers, model.config.num_hidden_layers = layers, before


@kinds
@pytest.mark.parametrize("blocks", [1, 3, 4])
def test_a_shell_is_the_model_left_early(made, kind, blocks):
    model = made(kind)
    with torch.inference_mode():
        found = shell(model, blocks)(input_ids=IDS).logits
        assert torch.equal(found, early_exit(model, blocks))
        assert torch.equal(found, model(input_ids=IDS).logits) == (blocks == 4)


@kinds
def test_a_shell_takes_no_memory_and_leaves_the_model_alone(made, kind):
    model = made(kind)
    own = dict(model.named_parameters(remove_duplicate=False))
    assistant = shell(model, 2)
    for name, tensor in assistant.named_parameters(remove_duplicate=False):
        assert tensor.data_ptr() == own[name].data_ptr()
        assert not tensor.requires_grad
    assert all(tensor.requires_grad for tensor in own.values())
    assert len(assistant.model.layers) == assistant.config.num_hidden_layers == 2
    assert len(model.model.layers) == model.config.num_hidden_layers == 4
    assert not {id(module) for module in assistant.modules()} & {id(module) for module in model.modules()}


@kinds
@pytest.mark.parametrize("shards", ["5GB", "10KB"])
def test_a_folder_gives_the_same(made, kind, shards, tmp_path):
    made(kind).save_pretrained(tmp_path, max_shard_size=shards)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shards == "10KB")
    with torch.inference_mode():
        found = load(tmp_path, 2, CPU, FULL)(input_ids=IDS).logits
        assert torch.equal(found, shell(made(kind), 2)(input_ids=IDS).logits)


def test_only_what_is_needed_is_read(made, tmp_path):
    """The shards of the blocks above may be missing."""
    made("qwen3").save_pretrained(tmp_path, max_shard_size="10KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    kept = {shard for name, shard in index.items() if ".layers.2." not in name and ".layers.3." not in name}
    gone = set(index.values()) - kept
    assert gone
    for shard in gone:
        (tmp_path / shard).unlink()
    assert load(tmp_path, 2, CPU, torch.bfloat16).dtype == torch.bfloat16
    with pytest.raises(AdapterError):
        load(tmp_path, 3, CPU, FULL)


def test_what_has_no_assistant_is_refused(made, tmp_path):
    for blocks in (0, 5):
        with pytest.raises(AdapterError):
            shell(made("llama"), blocks)
    other = GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=4))
    with pytest.raises(AdapterError):
        shell(other, 1)
    other.save_pretrained(tmp_path / "gpt2")
    with pytest.raises(AdapterError):
        load(tmp_path / "gpt2", 1, CPU, FULL)
    with pytest.raises(AdapterError):
        load(tmp_path, 1, CPU, FULL)
    made("llama").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change in ({"quantization_config": {"quant_method": "fp8"}}, {"intermediate_size": 40}):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(AdapterError):
            load(tmp_path, 1, CPU, FULL)


def test_a_quarter_of_the_blocks(made):
    config = made("llama").config
    assert [default_blocks(type(config)(num_hidden_layers=n)) for n in (1, 4, 7, 28, 32)] == [1, 1, 1, 7, 8]


def test_a_manifest_is_what_was_written(tmp_path):
    with pytest.raises(AdapterError):
        Manifest.read(tmp_path)
    Manifest(2, "abc").write(tmp_path)
    assert Manifest.read(tmp_path) == Manifest(2, "abc")
    for junk in ("{", "[]", '{"blocks": 1}', '{"blocks": null, "model": "x"}'):
        (tmp_path / "uld.json").write_text(junk)
        with pytest.raises(AdapterError):
            Manifest.read(tmp_path)
