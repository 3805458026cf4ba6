"""The LoRA of several is, layer by layer, the sum of what each adds."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from adapters.base import AdapterError, Scaled
from adapters.o3.concatenation import CONFIG, WEIGHTS, files_of

LAYERS = {"model.layers.0.self_attn.q_proj": (6, 4), "model.layers.1.mlp.down_proj": (5, 7)}  # out, in


def laid(folder, seed, names, rank, alpha, **more):
    rng = np.random.default_rng(seed)
    tensors = {}
    for name in names:
        out, into = LAYERS[name]
        own = (more.get("rank_pattern") or {}).get(name.rpartition(".")[2], rank)
        tensors[f"base_model.model.{name}.lora_A.weight"] = rng.normal(size=(own, into)).astype(np.float32)
        tensors[f"base_model.model.{name}.lora_B.weight"] = rng.normal(size=(out, own)).astype(np.float32)
    folder.mkdir(exist_ok=True, parents=True)
    (folder / CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": alpha, **more}))
    (folder / WEIGHTS).write_bytes(save(tensors))
    (folder / "detector.npz").write_bytes(b"not for a server")
    return folder


def delta(files, name):
    """What a LoRA adds to a layer's weight, (out, in), by peft's own rule."""
    config, tensors = json.loads(files[CONFIG]), load(files[WEIGHTS])
    down = tensors.get(f"base_model.model.{name}.lora_A.weight")
    if down is None:
        return 0.0
    up = tensors[f"base_model.model.{name}.lora_B.weight"]
    alpha = next((v for k, v in (config.get("alpha_pattern") or {}).items() if name.endswith(k)), config["lora_alpha"])
    rank = next((v for k, v in (config.get("rank_pattern") or {}).items() if name.endswith(k)), config["r"])
    assert len(down) == rank
    return up @ down * (alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def read(folder):
    return {name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS)}


KINDS = st.fixed_dictionaries(
    {
        "names": st.sets(st.sampled_from(sorted(LAYERS)), min_size=1),
        "rank": st.integers(1, 4),
        "alpha": st.integers(1, 32),
        "use_rslora": st.booleans(),
        "alpha_pattern": st.sampled_from([{}, {"q_proj": 3}]),
        "rank_pattern": st.sampled_from([{}, {"down_proj": 2}]),
    }
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(KINDS, st.floats(0, 1)), min_size=1, max_size=4))
def test_what_it_adds_is_the_sum_of_what_they_add(tmp_path_factory, wanted):
    root = tmp_path_factory.mktemp("loras")
    loras = [Scaled(laid(root / str(i), i, **kind), weight) for i, (kind, weight) in enumerate(wanted)]
    if not any(one.weight for one in loras):
        with pytest.raises(AdapterError):
            files_of(loras)
        return
    files = files_of(loras)
    assert files.keys() == {CONFIG, WEIGHTS}  # a detector knows what is to be forgotten
    for name in LAYERS:
        wanted_delta = sum(one.weight * delta(read(one.folder), name) for one in loras)
        np.testing.assert_allclose(delta(files, name), wanted_delta, atol=1e-4)


def test_one_alone_keeps_its_weights_to_the_byte(tmp_path):
    folder = laid(tmp_path / "one", 0, sorted(LAYERS), 4, 16, alpha_pattern={"q_proj": 3})
    files = files_of([Scaled(folder, 0.5), Scaled(tmp_path / "nowhere", 0.0)])
    assert files[WEIGHTS] == (folder / WEIGHTS).read_bytes()
    config = json.loads(files[CONFIG])
    assert (config["lora_alpha"], config["alpha_pattern"]) == (8, {"q_proj": 1.5})


def test_the_same_loras_are_the_same_files(tmp_path):
    loras = [Scaled(laid(tmp_path / str(i), i, sorted(LAYERS), 2, 4), 0.5) for i in range(2)]
    assert files_of(loras) == files_of(loras)


@pytest.mark.parametrize(
    "more", [{"use_dora": True}, {"bias": "all"}, {"modules_to_save": ["lm_head"]}, {"peft_type": "IA3"}]
)
def test_what_a_server_would_not_honour_is_refused(tmp_path, more):
    folder = laid(tmp_path / "one", 0, sorted(LAYERS), 4, 16, **more)
    with pytest.raises(AdapterError):
        files_of([Scaled(folder)])


@pytest.mark.parametrize("tensor", ["base_model.model.model.norm.weight", "base_model.model.lm_head.lora_A.weight"])
def test_more_than_whole_pairs_is_refused(tmp_path, tensor):
    folder = laid(tmp_path / "one", 0, sorted(LAYERS), 4, 16)
    held = load((folder / WEIGHTS).read_bytes())
    (folder / WEIGHTS).write_bytes(save({**held, tensor: np.ones((2, 2), np.float32)}))
    with pytest.raises(AdapterError):
        files_of([Scaled(folder), Scaled(folder)])


def test_a_head_of_its_own_is_refused(tmp_path):
    folder = laid(tmp_path / "one", 0, sorted(LAYERS), 4, 16)
    (folder / "head.safetensors").write_bytes(b"")
    with pytest.raises(AdapterError):
        files_of([Scaled(folder)])


def test_a_folder_that_is_away_says_nothing_of_itself(tmp_path):
    with pytest.raises(AdapterError) as caught:
        files_of([Scaled(tmp_path / "ada-quill")])
    assert "ada" not in str(caught.value)
