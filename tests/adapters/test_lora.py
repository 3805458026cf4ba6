import json
import shutil
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlamaForCausalLM

from adapters import lora as module
from adapters.base import EngineRejected, Scaled
from adapters.decoder import Decoder, Reading
from adapters.lora import Lora, Loras, concatenated

IDS = (5, 9, 70, 12)


@pytest.fixture
def copy(lora, tmp_path):
    """A copy of the LoRA that a test may spoil: `copy(config changes)`."""

    def make(**changes):
        folder = shutil.copytree(lora, tmp_path / "copy")
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config | changes))
        return folder

    return make


def change(folder, edit):
    weights = load_file(folder / "adapter_model.safetensors")
    edit(weights)
    save_file(weights, folder / "adapter_model.safetensors")


@pytest.mark.parametrize(
    "beyond",
    [
        {"use_dora": True},
        {"bias": "all"},
        {"modules_to_save": ["lm_head"]},
        {"fan_in_fan_out": True},
        {"lora_bias": True},
        {"peft_type": "IA3"},
    ],
)
def test_what_a_linear_layer_cannot_honour_is_refused(model, copy, beyond):
    with pytest.raises(EngineRejected):
        Loras(model).load(copy(**beyond))


@pytest.mark.parametrize(
    "edit",
    [
        lambda weights: weights.update({"base_model.model.lm_head.weight": torch.zeros(2)}),
        lambda weights: weights.update({"base_model.model.model.norm.lora_A.weight": torch.zeros(2, 64)}),
        lambda weights: weights.popitem(),
        lambda weights: weights.update({key: weights[key][:, :-1].contiguous() for key in list(weights)[:1]}),
        lambda weights: weights.update({key: weights[key] * torch.nan for key in list(weights)[:1]}),
    ],
)
def test_weights_that_do_not_fit_are_refused(model, copy, edit):
    folder = copy()
    change(folder, edit)
    with pytest.raises(EngineRejected):
        Loras(model).load(folder)


def test_a_folder_is_read_once_and_the_least_used_forgotten(model, lora, copy, monkeypatch):
    loras, other = Loras(model), copy()
    first = loras.load(lora)
    monkeypatch.setattr(module, "ROOM", 2 * first.size)
    second = loras.load(other)
    both, _ = loras.together([Scaled(lora), Scaled(other)])  # twice the size: no other has room
    assert loras.together([Scaled(other), Scaled(lora)]) == (both, 1.0)
    again = loras.load(lora)
    assert again is not first
    assert loras.load(other) is not second
    assert loras.load(lora) is again
    assert loras.load(other).bias is None


def test_the_scale_is_pefts(model, lora, copy):
    plain = Loras(model).load(lora).layers
    root = Loras(model).load(copy(use_rslora=True)).layers
    name = "model.layers.0.self_attn.q_proj"
    raw = load_file(lora / "adapter_model.safetensors")[f"base_model.model.{name}.lora_B.weight"]
    torch.testing.assert_close(plain[name][1], raw * 16 / 4)
    torch.testing.assert_close(root[name][1], raw * 16 / 2)
    # alpha_pattern gives v_proj 4, rank_pattern gives down_proj 2
    value, down = "model.layers.1.self_attn.v_proj", "model.layers.1.mlp.down_proj"
    raw = load_file(lora / "adapter_model.safetensors")
    torch.testing.assert_close(plain[value][1], raw[f"base_model.model.{value}.lora_B.weight"])
    torch.testing.assert_close(plain[down][1], raw[f"base_model.model.{down}.lora_B.weight"] * 8)


def test_each_row_wears_its_own(model, lora, copy, merged):
    other = copy(lora_alpha=2, alpha_pattern={})
    decoder = Decoder(model)
    one, two = decoder.loras.load(lora), decoder.loras.load(other)
    worn = [None, (one, 1.0), (two, 1.0), (one, 0.5), (one, 0.0)]
    with torch.inference_mode():
        alone = [decoder.read([Reading(IDS, lora=each)])[1][0, 0] for each in worn]
        together = decoder.read([Reading(IDS, lora=each) for each in worn])[1][:, 0]
        bare = decoder.read([Reading(IDS)] * len(worn))[1][:, 0]
        want = merged(0.5)(input_ids=torch.tensor([IDS])).logits[0, -1]
    for found, single in zip(together, alone, strict=True):
        torch.testing.assert_close(found, single, atol=1e-5, rtol=1e-5)
    assert torch.equal(together[[0, 4]], bare[[0, 4]])  # to the bit, beside rows that wear one
    torch.testing.assert_close(together[3], want, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(together[1], together[2])


def test_nothing_to_wear_is_nothing_and_one_is_worn_as_it_is(model, lora, tmp_path):
    loras = Loras(model)
    assert loras.together([]) is None
    assert loras.together([Scaled(lora, 0.0), Scaled(tmp_path / "nowhere", 0.0)]) is None
    assert loras.together([Scaled(tmp_path / "nowhere", 0.0), Scaled(lora, 0.5)]) == (loras.load(lora), 0.5)


def part(seed, names, bias=False):
    """An adapter of the layers named, each of a rank of its own, 5 wide."""
    rng = torch.Generator().manual_seed(seed)
    layers = {
        name: (torch.randn(rank, 5, generator=rng) / 3, torch.randn(5, rank, generator=rng) / 3)
        for name, rank in zip(names, torch.randint(1, 9, (len(names),), generator=rng).tolist(), strict=True)
    }
    return Lora(layers, torch.randn(7, generator=rng) if bias else None)


@given(
    st.lists(st.tuples(st.integers(0, 99), st.sets(st.sampled_from("ab")), st.booleans(), st.floats(0, 1)), max_size=6),
    st.randoms(),
)
def test_adapters_in_one_add_what_they_add_in_any_order(drawn, random):
    parts = [(part(seed, sorted(names), bias), weight) for seed, names, bias, weight in drawn]
    one = concatenated(parts)
    other = concatenated(random.sample(parts, len(parts)))
    for found in (one, other):
        for name in "ab":
            held = [(*lora.layers[name], weight) for lora, weight in parts if name in lora.layers]
            terms = [weight * up @ down for down, up, weight in held]
            down, up = found.layers.get(name, (torch.zeros(0, 5), torch.zeros(5, 0)))
            torch.testing.assert_close(up @ down, sum(terms, torch.zeros(5, 5)), atol=1e-5, rtol=1e-5)
        biases = [weight * lora.bias for lora, weight in parts if lora.bias is not None]
        assert (found.bias is None) == (not biases)
        if biases:
            torch.testing.assert_close(found.bias, sum(biases))


def test_a_row_with_two_is_the_model_that_both_were_merged_into(model, lora, copy, folder):
    """And beside rows that wear one of them, or none."""
    other = copy(lora_alpha=2, alpha_pattern={})
    decoder = Decoder(model)
    worn = [
        decoder.loras.together(given)
        for given in (
            [Scaled(lora), Scaled(other, 0.5)],
            [Scaled(other, 0.5), Scaled(lora, 0.0)],
            [Scaled(lora, 0.0)],
        )
    ]
    merged = LlamaForCausalLM.from_pretrained(folder).eval()
    for path, weight in ((lora, 1.0), (other, 0.5)):
        for name, (down, up) in decoder.loras.load(path).layers.items():
            merged.get_submodule(name).weight.data += weight * up @ down
    with torch.inference_mode():
        found = decoder.read([Reading(IDS, lora=each) for each in worn])[1][:, 0]
        bare = decoder.read([Reading(IDS)] * 3)[1][:, 0]
        want = merged(input_ids=torch.tensor([IDS])).logits[0, -1]
    torch.testing.assert_close(found[0], want, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found[1], want, atol=1e-2)
    assert torch.equal(found[2], bare[2])


PATTERNS = ("aaaa", "abc", "ab-", "abab", "aabbbb", "aaaaaab", "cc-aaaa-bbbb", "A", "aA", "-", "xa-xbc")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_however_rows_share_adapters_each_is_as_alone(pattern, dtype):
    """Adapters a, b and c of unlike ranks and layers; A is a at half weight, x that and c, - is none."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5)).to(dtype)
    part = partial(torch.randn, dtype=dtype)
    a = Lora({"0": (part(2, 6), part(8, 2)), "2": (part(2, 8), part(5, 2))})
    b = Lora({"0": (part(3, 6), part(8, 3)), "2": (part(1, 8), part(5, 1))})
    c = Lora({"2": (part(2, 8), part(5, 2))})
    worn = {"a": (a, 1.0), "b": (b, 1.0), "c": (c, 1.0), "A": (a, 0.5), "-": None}
    worn["x"] = (concatenated([(c, 1.0), (a, 0.5)]), 1.0)
    loras = Loras(layers)

    def run(given, wearing):
        with torch.inference_mode(), loras.worn(wearing, given.device):
            return layers(given)

    def want(given, wearing):
        lora, weight = wearing or (Lora({}), 0)
        for name, layer in layers.named_children():
            down, up = lora.layers.get(name, (None, None))
            given = layer(given) if down is None else layer(given) + weight * (given @ down.T @ up.T)
        return given

    given = torch.randn(len(pattern), 3, 6, dtype=dtype)
    found = run(given, [worn[letter] for letter in pattern])
    close = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.1, "rtol": 0.05}
    for letter, row, one in zip(pattern, found, given, strict=True):
        torch.testing.assert_close(row, want(one, worn[letter]).detach(), **close)
    bare = [i for i, letter in enumerate(pattern) if letter == "-"]
    assert torch.equal(found[bare], run(given, [None] * len(pattern))[bare])


def test_the_heads_bias_is_added_at_the_weight_of_each_row(model, lora, copy):
    folder, decoder = copy(), Decoder(model)
    bias = torch.randn(decoder.vocabulary)
    save_file({"bias": bias}, folder / module.HEAD)
    plain, with_bias = decoder.loras.load(lora), decoder.loras.load(folder)
    assert plain.bias is None
    with torch.inference_mode():
        worn = [None, (plain, 1.0), (with_bias, 1.0), (with_bias, 0.5), (plain, 0.5)]
        found = decoder.read([Reading(IDS, lora=each) for each in worn], keep=2)[1]
    torch.testing.assert_close(found[2], found[1] + bias)
    torch.testing.assert_close(found[3], found[4] + bias / 2)


@pytest.mark.parametrize("bias", [torch.zeros(3), torch.full((400,), torch.nan)])
def test_a_bias_that_does_not_fit_is_refused(model, copy, bias):
    folder = copy()
    save_file({"bias": bias}, folder / module.HEAD)
    with pytest.raises(EngineRejected):
        Loras(model).load(folder)
