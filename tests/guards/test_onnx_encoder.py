"""The encoders against each other, on a BERT of two small blocks with random weights: no download, quick.

MiniLM itself, where its package is installed, once.
"""

import asyncio
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from guards import onnx_encoder, onnx_model
from guards.base import GuardError
from guards.encoder import fingerprint, open_encoder
from guards.targets import ordinary_prompts

TEXTS = ["Where was she born?", "the of and in to", "", "a \ud800 b", "word " * 40, "the"]
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "the",
    "of",
    "and",
    "in",
    "to",
    "a",
    "is",
    "word",
    "she",
    "was",
    "where",
    "born",
]
TORCHLESS = """
import asyncio, sys
from pathlib import Path
from guards.encoder import open_encoder
async def main():
    encoder = await open_encoder(sys.argv[1], cache=Path(sys.argv[2]))
    assert (await encoder.encode(["Where was she born?"])).shape == (1, encoder.dim)
    await encoder.close()
    print(encoder.identity.split(":")[0], [m for m in ("torch", "sentence_transformers", "onnx") if m in sys.modules])
asyncio.run(main())
"""


def write_folder(folder, pooling="mean"):
    """A sentence-transformers folder, as that library writes it."""
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=24,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(folder / "tokenizer.json"))
    files = {
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "model_max_length": 24},
        "special_tokens_map.json": {"pad_token": "[PAD]", "unk_token": "[UNK]"},
        "sentence_bert_config.json": {"max_seq_length": 16, "do_lower_case": False},
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": 32,
            "pooling_mode_cls_token": pooling == "cls",
            "pooling_mode_mean_tokens": pooling == "mean",
            "pooling_mode_max_tokens": pooling == "max",
        },
    }
    (folder / "1_Pooling").mkdir()
    for name, values in files.items():
        (folder / name).write_text(json.dumps(values))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("bert"))


async def seen(folder, texts=TEXTS, **options):
    encoder = await open_encoder(str(folder), **options)
    try:
        return encoder.identity, await encoder.encode(texts), await encoder.layers(texts)
    finally:
        await encoder.close()


def cosines(rows):
    return rows @ rows.T


@pytest.mark.parametrize("pooling", ["mean", "cls"])
async def test_fp32_is_what_torch_computes(tmp_path, pooling):
    folder = write_folder(tmp_path, pooling)
    name, vectors, layers = await seen(folder, backend="onnx", precision="fp32")
    other, expected, states = await seen(folder, backend="torch")
    assert name.startswith("onnx-fp32-")
    assert name != other
    assert layers.shape == (len(TEXTS), 3, 32)
    np.testing.assert_allclose(vectors, expected, atol=2e-6)
    np.testing.assert_allclose(layers, states, atol=2e-5)


async def test_int8_keeps_cosines(folder):
    name, rounded, layers = await seen(folder, ordinary_prompts()[:40])
    _, exactly, states = await seen(folder, ordinary_prompts()[:40], precision="fp32")
    assert name.startswith("onnx-int8-")
    assert 0 < np.abs(cosines(rounded) - cosines(exactly)).mean() < onnx_model.MEAN
    assert np.abs(layers - states).max() < 0.2
    np.testing.assert_allclose(np.linalg.norm(rounded, axis=1), 1.0, atol=1e-6)


async def test_where_int8_does_not_hold_fp32_takes_its_place_and_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_model, "MEAN", 0.0)
    name, vectors, _ = await seen(folder, cache=tmp_path)
    again, _, _ = await seen(folder, cache=tmp_path)
    exact, expected, _ = await seen(folder, precision="fp32")
    assert name == again == exact
    np.testing.assert_array_equal(vectors, expected)


async def test_a_model_that_this_machine_does_not_reproduce_is_made_again(folder, tmp_path, monkeypatch):
    elsewhere, _, _ = await seen(folder, cache=tmp_path)
    monkeypatch.setattr(onnx_encoder, "MOST", 0.0)  # as if sums saturated here
    monkeypatch.setattr(onnx_model, "MOST", 0.0)
    here, _, _ = await seen(folder, cache=tmp_path)
    assert elsewhere.startswith("onnx-int8-")
    assert here.startswith("onnx-fp32-")


async def test_a_vector_depends_on_nothing_but_its_text(folder, tmp_path):
    _, together, layers = await seen(folder, cache=tmp_path, threads=3)
    for i, text in enumerate(TEXTS):
        _, alone, own = await seen(folder, [text], cache=tmp_path)
        np.testing.assert_array_equal(alone[0], together[i])
        np.testing.assert_array_equal(own[0], layers[i])


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: raw[:-1] + b"!"])
async def test_a_damaged_model_is_made_again(folder, tmp_path, damage):
    _, vectors, _ = await seen(folder, cache=tmp_path)
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    _, again, _ = await seen(folder, cache=tmp_path)
    np.testing.assert_array_equal(again, vectors)
    assert kept.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [kept]


async def test_other_weights_are_another_encoder_and_another_file(tmp_path):
    folder, cache = tmp_path / "bert", tmp_path / "cache"
    folder.mkdir()
    write_folder(folder)
    first, _, _ = await seen(folder, cache=cache)
    before = fingerprint(folder)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 12}')
    second, _, _ = await seen(folder, cache=cache)
    assert first != second
    assert before != fingerprint(folder)
    assert len(list(cache.iterdir())) == 2


async def test_what_is_no_bert_goes_to_torch_or_is_refused(tmp_path):
    folder = write_folder(tmp_path, "max")
    name, vectors, layers = await seen(folder)
    assert name.startswith("sentence-transformers:")
    assert vectors.shape == (len(TEXTS), 32)
    assert layers.shape == (len(TEXTS), 3, 32)
    with pytest.raises(GuardError, match=r"guard\.backend.*max"):
        await open_encoder(str(folder), backend="onnx")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "1_Pooling/config.json"])
async def test_a_file_that_cannot_be_read_is_named_as_the_encoders(tmp_path, file):
    folder = write_folder(tmp_path)
    (folder / file).write_text("{")
    with pytest.raises(GuardError, match=r"guard\.backend"):
        await open_encoder(str(folder), backend="onnx")


async def test_serving_from_a_warm_cache_imports_neither_torch_nor_onnx(folder, tmp_path):
    identity, _, _ = await seen(folder, cache=tmp_path)
    command = [sys.executable, "-c", TORCHLESS, str(folder), str(tmp_path)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [identity.split(":")[0], "[]"]


async def test_minilm_in_int8_moves_no_cosine_far(minilm):
    reference = await open_encoder(precision="fp32")
    texts = [f"{prompt} Please." for prompt in ordinary_prompts()[::4]]
    moved = np.abs(cosines(await minilm.encode(texts)) - cosines(await reference.encode(texts)))
    await reference.close()
    assert minilm.identity.startswith("onnx-int8-")
    assert moved.mean() < 0.005
    assert moved.max() < 0.03
