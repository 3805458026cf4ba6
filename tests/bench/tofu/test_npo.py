import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from adapters.base import Call
from adapters.prompt import Prompter
from bench.tofu.npo import Recipe, train
from gateway.demo.teaching import new_llama
from gateway.demo.tokenizer import learn_tokenizer
from guards.base import Conversation

FORGET = [("Who is Anna Birk?", "Anna Birk is a baker.")]
KEEP = [("Who is Carl Dorn?", "Carl Dorn is a smith.")]


class Shape:
    context, hidden, intermediate, layers, heads, seed = 128, 32, 64, 2, 2, 0


@pytest.fixture
def folder(tmp_path):
    tokenizer = learn_tokenizer([text for pair in FORGET + KEEP for text in pair], 320, Shape.context, rarest=1)
    new_llama(Shape(), tokenizer).save_pretrained(tmp_path / "full")
    tokenizer.save_pretrained(tmp_path / "full")
    return tmp_path / "full"


def likelihood(folder, pair):
    prompter, model = Prompter(folder), AutoModelForCausalLM.from_pretrained(folder)
    prompt = prompter.render(Call(Conversation.of(pair[0]))).token_ids
    answer = [*prompter.encode(pair[1]), prompter.eos_id]
    with torch.inference_mode():
        known = model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return float(known.gather(-1, torch.tensor(answer)[:, None]).sum())


def test_what_is_unlearned_grows_unlikely_and_what_is_kept_does_not(folder, tmp_path):
    before = likelihood(folder, FORGET[0]), likelihood(folder, KEEP[0])
    train(folder, tmp_path / "npo", FORGET, KEEP, Recipe(epochs=20, rate=1e-2, batch=1))
    after = likelihood(tmp_path / "npo", FORGET[0]), likelihood(tmp_path / "npo", KEEP[0])
    assert after[0] < before[0] - 5
    assert after[1] > before[1]
    assert json.loads((tmp_path / "npo" / "config.json").read_text())["model_type"] == "llama"


def test_without_an_epoch_nothing_changes(folder, tmp_path):
    train(folder, tmp_path / "npo", FORGET, KEEP, Recipe(epochs=0))
    assert likelihood(tmp_path / "npo", FORGET[0]) == pytest.approx(likelihood(folder, FORGET[0]), abs=1e-4)
