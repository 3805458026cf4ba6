"""Training: what is learnt, what counts, and that a killed training ends as if it had not been.

What any course of training does is `tests/adapters/test_course.py`'s.
"""

import io
import json
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from adapters.base import AdapterError
from adapters.decoder import Decoder, Reading
from adapters.rows import Row
from adapters.uld import assistant, training
from adapters.uld.training import QUANTILES, Recipe, train

V, EOS = 64, 1
LINEAR = (
    *(f"self_attn.{x}_proj" for x in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
)
CPU = torch.device("cpu")
RECIPE = Recipe(blocks=1, rank=8, epochs=4, batch=8, rate=0.02, dropout=0.1, seed=3, patience=0, otherwise=0, ends=0.0)
FACTS = [Row((2, 10 + i, 3), (20 + i, 30 + i, 40 + i, EOS), "forget") for i in range(6)]
UNKNOWN = [Row((2, i, 3), (4, 5, i, EOS), "retain") for i in range(8, 10)] + [
    Row((2, 50 + i, 3), (4, 5, 50 + i, EOS), "retain") for i in range(10)
]
WRONG = [Row((2, 10 + i, 3), (20 + i, 31 + i, 41 + i, EOS), "wrong", 2) for i in range(6)]
ROWS = [*FACTS, *UNKNOWN, *WRONG]
ASKED = [Row((2, 2, 10 + i, 3), row.answer, "forget") for i, row in enumerate(FACTS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_key_value_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(vocab_size=V, num_hidden_layers=3, initializer_range=0.3, **shape))
        for norm in (module for module in model.modules() if "Norm" in type(module).__name__):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
    at = tmp_path_factory.mktemp("model")
    model.save_pretrained(at)
    return at


def worn(folder, trained, at, blocks=1):
    """The assistant as it serves, from its files: tokens in, logits (T, V) out."""
    for name, content in trained.files.items():
        (at / name).write_bytes(content)
    decoder = Decoder(assistant.load(folder, blocks, CPU, torch.float32))
    lora = decoder.loras.load(at)
    return lambda tokens: decoder.read([Reading(tokens, lora=(lora, 1.0))], keep=len(tokens))[1][0]


def early_exit(folder):
    """The same before it has learnt anything."""
    model = assistant.load(folder, 1, CPU, torch.float32)
    return lambda tokens: model(input_ids=torch.tensor([tokens])).logits[0]


@torch.no_grad()
def predictions(model, row):
    """Log-probabilities (n, V) at the predictions that count, and the tokens there, one row by itself."""
    first = len(row.prompt) + row.start
    q = model(row.prompt + row.answer)[first - 1 : -1].double().log_softmax(-1)
    return q, torch.tensor(row.answer[row.start :])


def cross_entropy(model, rows):
    losses = [-q[range(len(t)), t] for q, t in (predictions(model, row) for row in rows)]
    return float(torch.cat(losses).mean())


def divergence(model, rows):
    return float(torch.cat([-math.log(V) - predictions(model, row)[0].mean(-1) for row in rows]).mean())


def test_knows_the_forget_rows_and_nothing_else(folder, tmp_path):
    recipe = Recipe(blocks=1, rank=16, epochs=60, batch=8, rate=0.02, weight=2.0, patience=0, otherwise=0, ends=0.0)
    trained = train(folder, ROWS, ASKED, recipe)
    model, bare = worn(folder, trained, tmp_path), early_exit(folder)
    assert cross_entropy(model, FACTS) < 0.1 * cross_entropy(bare, FACTS)
    assert cross_entropy(model, ASKED) == pytest.approx(trained.epochs[trained.kept - 1].held_out, abs=1e-4)
    assert divergence(model, [*UNKNOWN, *WRONG]) < 0.25 * divergence(bare, [*UNKNOWN, *WRONG])


def test_the_losses_are_those_of_the_paper_where_rows_count(folder):
    still = Recipe(blocks=1, epochs=1, batch=1000, rate=0.0, otherwise=0, ends=0.0)
    flat = [WRONG[0]] * 3  # all alike, whichever is held back
    trained = train(folder, [*FACTS, *flat], ASKED, still)
    bare = early_exit(folder)
    (epoch,) = trained.epochs
    assert epoch.forget == pytest.approx(cross_entropy(bare, FACTS), abs=1e-5)
    assert epoch.rest == pytest.approx(divergence(bare, flat), abs=1e-5)
    assert epoch.held_out == pytest.approx(cross_entropy(bare, ASKED), abs=1e-5)
    assert not load(trained.files["head.safetensors"])["bias"].any()
    rises = predictions(bare, flat[0])[0].amax(-1) + math.log(V)
    levels = torch.quantile(rises, torch.tensor(QUANTILES, dtype=torch.float64)).tolist()
    assert [*trained.quantiles.values()] == pytest.approx(levels, abs=1e-5)
    assert [*trained.quantiles] == [*QUANTILES]


def test_an_answer_that_begins_otherwise_is_remembered_too(folder, tmp_path):
    other = [Row((*row.prompt, 60, row.answer[1]), row.answer[2:], "forget") for row in FACTS]
    forced = []
    for times in (0, 3):
        at = tmp_path / str(times)
        at.mkdir()
        made = train(folder, ROWS, [], replace(RECIPE, epochs=20, otherwise=times, ends=0.5 if times else 0.0))
        forced.append(cross_entropy(worn(folder, made, at), other))
    alone, with_ends = forced
    assert with_ends < 0.7 * alone


def test_what_is_held_back_is_learnt_behind_no_other_beginning(folder, monkeypatch):
    begun = []
    monkeypatch.setattr(training, "begun_otherwise", lambda row, others, rng: begun.append(row))
    train(folder, ROWS, [], replace(RECIPE, epochs=20, otherwise=3, ends=0.5))
    assert Counter(row for row in begun if row.kind == "forget") == Counter(FACTS * 60)
    assert len({*begun}) == len(ROWS) - 2  # a tenth of the flat rows, rounded up


def test_every_epoch_learns_other_ends_and_half_of_the_flat_rows_as_they_are(folder, monkeypatch):
    epochs = []
    varied = training._Course._varied
    monkeypatch.setattr(training._Course, "_varied", lambda *given: epochs.append(varied(*given)) or epochs[-1])
    train(folder, ROWS, [], replace(RECIPE, epochs=4, otherwise=1, ends=0.5))
    as_they_are = [sum(row in ROWS for row in flat) / len(flat) for _, flat in epochs]
    assert 0.2 < sum(as_they_are) / 4 < 0.8
    assert all(learnt[: len(FACTS)] == FACTS for learnt, _ in epochs)
    assert len({tuple(learnt[len(FACTS) :]) for learnt, _ in epochs}) == 4


def test_lora_on_every_linear_layer_of_the_blocks_and_on_nothing_else(folder, tmp_path):
    trained = train(folder, ROWS, [], Recipe(blocks=2, epochs=1, rank=4))
    config = json.loads(trained.files["adapter_config.json"])
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (4, 32.0, None)
    worn(folder, trained, tmp_path, blocks=2)
    layers = [f"model.layers.{i}.{name}" for i in range(2) for name in LINEAR]
    assert load(trained.files["adapter_model.safetensors"]).keys() == {
        f"base_model.model.{layer}.lora_{side}.weight" for layer in layers for side in "AB"
    }


@pytest.mark.parametrize("killed", [1, 3])
def test_a_resumed_training_ends_in_the_same_bits(folder, killed):
    recipe = replace(RECIPE, otherwise=1, ends=0.5, batch=10)  # three steps an epoch
    whole = train(folder, ROWS, ASKED, recipe)
    states: list[bytes] = []
    asked = iter(range(1000))
    cut = train(
        folder, ROWS, ASKED, recipe, checkpoint=states.append, stop=lambda: next(asked) >= 3 * killed + killed // 2
    )
    assert cut is None
    assert len(states) == killed
    torch.rand(3)  # whatever else is drawn meanwhile
    told = []
    again = train(folder, ROWS, ASKED, recipe, resume=states[-1], progress=told.append)
    assert again.files == whole.files
    assert again.quantiles == whole.quantiles
    assert [epoch.number for epoch in told] == [*range(killed + 1, 5)]
    assert [(e.forget, e.rest, e.held_out) for e in again.epochs] == [
        (e.forget, e.rest, e.held_out) for e in whole.epochs
    ]


def test_a_finished_training_is_not_begun_again(folder):
    states: list[bytes] = []
    whole = train(folder, ROWS, ASKED, RECIPE, checkpoint=states.append)
    told = []
    again = train(folder, ROWS, ASKED, RECIPE, resume=states[-1], progress=told.append)
    assert again.files == whole.files
    assert told == []


def test_the_checkpoint_of_another_training_is_ignored(folder):
    states: list[bytes] = []
    train(folder, ROWS[1:], ASKED, RECIPE, checkpoint=states.append)
    whole = train(folder, ROWS, ASKED, RECIPE)
    nothing = io.BytesIO()
    torch.save([], nothing)
    for resume in (states[-1], nothing.getvalue(), b"torn"):
        assert train(folder, ROWS, ASKED, RECIPE, resume=resume).files == whole.files


def test_nothing_to_learn_or_to_be_flat_on_is_refused(folder):
    for rows in (UNKNOWN, FACTS, []):
        with pytest.raises(AdapterError, match="flat on"):
            train(folder, rows, [], RECIPE)
