import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from adapters.base import AdapterError
from adapters.eco.table import EmbeddingTable

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def written(folder, dtype=torch.float32, name="model.embed_tokens.weight", model_type="llama", rows=40, width=6):
    torch.manual_seed(rows)
    weight = torch.randn(rows, width).to(dtype)
    # neighbours of other sizes, so that a wrong offset is seen
    save_file({"a.bias": torch.zeros(3), name: weight, "z.weight": torch.ones(2, 2)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return weight.to(torch.float32).numpy()


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_rows_are_what_torch_would_look_up(tmp_path, dtype):
    weight = written(tmp_path, dtype)
    table = EmbeddingTable(tmp_path)
    assert (table.size, table.width) == weight.shape
    assert np.array_equal(table.rows(range(40)), weight)
    assert np.array_equal(table.rows([7, 7, 0]), weight[[7, 7, 0]])
    assert table.rows([3]).dtype == np.float32
    assert table.rows([]).shape == (0, 6)
    assert table.radius == pytest.approx(np.median(np.linalg.norm(weight, axis=1)))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_any_bfloat16_survives(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("bf16")
    weight = torch.tensor([values]).to(torch.bfloat16).clamp(-1e30, 1e30)
    save_file({"wte.weight": weight}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    with np.errstate(over="ignore"):
        assert np.array_equal(EmbeddingTable(folder).rows([0]), weight.float().numpy())


@pytest.mark.parametrize("model_type", ["gemma", "gemma2", "gemma3_text"])
def test_gemma_scales_as_it_looks_up(tmp_path, model_type):
    weight = written(tmp_path, model_type=model_type)
    assert EmbeddingTable(tmp_path).rows([5]) == pytest.approx(weight[[5]] * np.sqrt(6), rel=1e-6)


def test_others_do_not(tmp_path):
    weight = written(tmp_path, model_type="granite")
    assert np.array_equal(EmbeddingTable(tmp_path).rows([5]), weight[[5]])


@pytest.mark.parametrize("name", ["transformer.wte.weight", "gpt_neox.embed_in.weight", "tok_embeddings.weight"])
def test_other_architectures_names(tmp_path, name):
    weight = written(tmp_path, name=name)
    assert np.array_equal(EmbeddingTable(tmp_path).rows([1]), weight[[1]])


def test_the_matrix_is_found_among_shards(tmp_path):
    save_file({"lm_head.weight": torch.zeros(3, 3)}, tmp_path / "model-00001-of-00002.safetensors")
    weight = torch.eye(4)
    save_file({"model.embed_tokens.weight": weight}, tmp_path / "model-00002-of-00002.safetensors")
    (tmp_path / "config.json").write_text("{}")
    assert np.array_equal(EmbeddingTable(tmp_path).rows([2])[0], weight[2].numpy())


def test_a_folder_without_embeddings_is_refused(tmp_path):
    with pytest.raises(AdapterError):
        EmbeddingTable(tmp_path)


def test_a_dtype_that_we_cannot_read_is_refused(tmp_path):
    save_file({"model.embed_tokens.weight": torch.ones(4, 4, dtype=torch.int8)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(AdapterError, match="I8"):
        EmbeddingTable(tmp_path)
