"""A course of training, whatever it teaches: here, answers by their cross-entropy."""

import json
import math
import random
from collections import Counter
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load
from torch.nn import functional as F
from transformers import LlamaForCausalLM

import adapters.course
from adapters.course import Course, Loss, _batches, _rate, digest_of, halves
from adapters.rows import Row
from tests.tiny_lora import merged_at

END = 1
LINEAR = (*(f"self_attn.{x}_proj" for x in "qkvo"), *(f"mlp.{name}_proj" for name in ("gate", "up", "down")))
LEARNT = [Row((2, 10 + i, 3), (20 + i, 30 + i, 40 + i, END), "forget") for i in range(6)]
REST = [Row((2, 50 + i, 3), (4, 5, 50 + i, END), "retain") for i in range(10)]
ASKED = [Row((2, 2, 10 + i, 3), row.answer, "forget") for i, row in enumerate(LEARNT)]
STRANGERS = [Row((2, 2, 10 + i, 3), (50, 51, 52, END), "forget") for i in range(4)]  # ever worse


@dataclass(frozen=True)
class Plan:
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.1
    epochs: int = 3
    batch: int = 8
    rate: float = 0.01
    seed: int = 3
    patience: int = 0


class Plain(Course):
    """Learns what is learnt and keeps the rest, and counts its steps."""

    steps = 0
    rates = ()

    def _loss(self, batch):
        logits, tokens, learnt = self._read(batch)
        losses = F.cross_entropy(logits, tokens, reduction="none")
        return Loss(losses.mean(), losses[learnt].mean().item(), losses[~learnt].mean().item())

    def _heard(self, rows):
        with torch.no_grad():
            logits, tokens, _ = self._read(rows)
            return float(F.cross_entropy(logits, tokens))

    def _stepped(self):
        self.steps += 1
        self.rates = (*self.rates, self._optimizer.param_groups[0]["lr"])


@pytest.fixture
def begun(folder):
    """Makes courses of the tiny model."""

    def begin(plan=None):
        model = LlamaForCausalLM.from_pretrained(folder).requires_grad_(False).eval()
        return Plain(model, plan or Plan(), "this")

    return begin


def run(course, held_out=(), resume=None, checkpoint=lambda state: None, stop=lambda: False):
    """Its epochs, None where it was stopped."""
    told = []
    more = {"resume": resume, "checkpoint": checkpoint, "progress": told.append, "stop": stop}
    return told if course.run((LEARNT, REST), held_out, **more) else None


@torch.no_grad()
def cross_entropy(model, rows):
    """Nats a token of what counts, one row by itself."""
    losses = []
    for row in rows:
        told = model(torch.tensor([row.prompt + row.answer])).logits[0, len(row.prompt) - 1 : -1].log_softmax(-1)
        losses += (-told[range(len(row.answer)), row.answer]).tolist()[row.start :]
    return sum(losses) / len(losses)


def test_a_fresh_lora_changes_nothing_and_stands_on_every_linear_layer_but_the_head(begun, folder, model, tmp_path):
    files = begun().files()
    assert json.loads(files["adapter_config.json"])["inference_mode"]
    weights = load(files["adapter_model.safetensors"])
    assert weights.keys() == {
        f"base_model.model.model.layers.{i}.{name}.lora_{side}.weight"
        for i in range(2)
        for name in LINEAR
        for side in "AB"
    }
    assert all(value.any() == name.endswith("A.weight") for name, value in weights.items())
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    tokens = torch.tensor([[2, 10, 3]])
    with torch.no_grad():
        assert torch.equal(merged_at(folder, tmp_path, 1.0)(tokens).logits, model(tokens).logits)


def test_rows_read_together_count_as_each_by_itself(begun, model):
    mixed = [LEARNT[0], Row((2,), (9, 8, 7, 6, 5, 4, END), "wrong", 2), Row((2, 3, 4, 5, 6), (7, END), "retain")]
    logits, tokens, learnt = begun()._read(mixed)
    assert tokens.tolist() == [*LEARNT[0].answer, 7, 6, 5, 4, END, 7, END]
    assert learnt.tolist() == [True] * 4 + [False] * 7
    whole = F.cross_entropy(logits, tokens).item()
    alone = [(cross_entropy(model, [row]), len(row.answer) - row.start) for row in mixed]
    assert whole == pytest.approx(sum(loss * count for loss, count in alone) / 11, abs=1e-4)


def test_what_is_kept_is_what_was_told_of(begun, folder, tmp_path):
    course = begun(Plan(epochs=20, dropout=0.0))
    told = run(course, ASKED)
    assert told[-1].forget < 0.5 * told[0].forget
    assert [(one.number, one.of) for one in told] == [(i, 20) for i in range(1, 21)]
    for name, content in course.files().items():
        (tmp_path / name).write_bytes(content)
    heard = cross_entropy(merged_at(folder, tmp_path, 1.0), ASKED)
    assert heard == pytest.approx(told[course._kept - 1].held_out, abs=1e-4)


def test_where_a_cpu_multiplies_halves_it_trains_in_them_and_learns_as_well(begun, monkeypatch):
    monkeypatch.setattr(adapters.course, "halves", lambda: True)
    whole = run(begun(Plan(epochs=8, dropout=0.0)))
    monkeypatch.setattr(Plain, "coarse", True)
    half = run(begun(Plan(epochs=8, dropout=0.0)))
    assert half[-1].forget != whole[-1].forget
    assert half[-1].forget == pytest.approx(whole[-1].forget, rel=0.1)


@pytest.mark.parametrize(
    ("able", "does"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx512_f": True}, False), ({}, False)],
)
def test_halves_are_multiplied_where_it_is_fast(monkeypatch, able, does):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert halves() is does


def test_every_step_is_held_to_what_a_method_wants(begun):
    course = begun(Plan(rate=0.3))
    run(course)
    assert course.steps == 3 * 2  # sixteen rows in batches of eight
    assert max(course.rates) <= 0.3
    assert course.rates[-1] == min(course.rates[1:])


def test_gradients_are_clipped(begun):
    """Of any length: what AdamW has seen of them is no longer than norm 1 allows."""
    course = begun(Plan(epochs=1, batch=1000))
    plain = course._loss

    def steep(batch):
        found = plain(batch)
        return replace(found, whole=found.whole * 1e6)

    course._loss = steep
    run(course)
    moments = [state["exp_avg"] / 0.1 for state in course._optimizer.state.values()]
    assert math.sqrt(sum(float(one.square().sum()) for one in moments)) == pytest.approx(1, abs=1e-3)


def test_the_seed_decides_and_nobody_elses_draws_are_taken(begun):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        expected = torch.rand(1)
        torch.manual_seed(5)
        random.seed(5)
        one = begun()
        run(one)
        assert torch.rand(1) == expected
        assert random.random() == random.Random(5).random()
    same, other = begun(), begun(Plan(seed=4))
    for course in (same, other):
        run(course)
    assert same.files() == one.files() != other.files()


def test_resumed_it_draws_what_it_would_have_drawn(begun):
    whole, states = begun(), []
    epochs = run(whole, ASKED, checkpoint=states.append)
    for i, state in enumerate(states):
        torch.rand(3)  # whatever else is drawn meanwhile
        course = begun()
        assert [(one.number, one.forget, one.held_out) for one in run(course, ASKED, state)] == [
            (one.number, one.forget, one.held_out) for one in epochs[i + 1 :]
        ]
        assert course.files() == whole.files()


def test_ends_when_paraphrases_are_known_less_and_keeps_what_knew_them(begun, folder, tmp_path):
    course = begun(Plan(epochs=40, rate=0.02, patience=2))
    heard = [epoch.held_out for epoch in run(course, STRANGERS)]
    assert len(heard) == course._kept + 2 < 40
    assert heard[course._kept - 1] <= min(heard) + 0.02 < min(heard[course._kept :])
    for name, content in course.files().items():
        (tmp_path / name).write_bytes(content)
    kept = cross_entropy(merged_at(folder, tmp_path, 1.0), STRANGERS)
    assert kept == pytest.approx(heard[course._kept - 1], abs=1e-4)


def test_of_epochs_that_know_about_as_much_the_last_is_kept(begun):
    course, losses = begun(Plan(epochs=8, patience=2)), iter([3.0, 2.0, 2.01, 2.019, 2.03, 2.1])
    course._heard = lambda rows: next(losses)
    assert len(run(course, ASKED)) == 6
    assert course._kept == 4


def test_without_paraphrases_the_last_epoch_is_kept(begun):
    course = begun(Plan(patience=1))
    assert [epoch.held_out for epoch in run(course)] == [None] * 3
    assert course._kept == 3


def test_stops_between_batches(begun):
    asked = []
    course = begun()

    def stop():
        asked.append(True)
        return len(asked) == 2

    assert run(course, stop=stop) is None
    assert (len(asked), course.steps) == (2, 1)


def test_another_courses_state_is_ignored(begun):
    states = []
    run(begun(), checkpoint=states.append)
    course = begun()
    course._digest = "that"
    assert len(run(course, resume=states[-1])) == 3


def test_what_a_training_is_made_of():
    assert digest_of(LEARNT, Plan()) == digest_of([*LEARNT], Plan())
    assert len({digest_of(LEARNT, Plan()), digest_of(LEARNT[1:], Plan()), digest_of(LEARNT, Plan(seed=4))}) == 3
    assert digest_of(LEARNT, REST) != digest_of([*LEARNT, *REST], [])


@given(st.integers(1, 500))
def test_the_rate_rises_for_a_tenth_and_falls_to_nothing(steps):
    rates = [_rate(step, steps) for step in range(steps)]
    top = rates.index(max(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert rates == sorted(rates[:top]) + sorted(rates[top:], reverse=True)
    assert abs(top - steps / 10) <= 1
    assert rates[-1] <= 2 / steps or steps < 3


@given(st.integers(0, 40), st.integers(0, 60), st.integers(1, 20), st.randoms(use_true_random=False))
def test_every_row_is_read_once_and_each_batch_is_a_sample_of_all(learnt, rest, size, rng):
    ours = [Row((i,) * (1 + i % 7), (i, END), "forget") for i in range(learnt)]
    others = [Row((100 + i,) * (1 + i % 9), (i, END), "retain") for i in range(rest)]
    batches = _batches((ours, others), size, rng)
    assert Counter(row for batch in batches for row in batch) == Counter([*ours, *others])
    for batch in batches:
        share = sum(row.kind == "forget" for row in batch)
        assert abs(share - learnt / len(batches)) < 1
        assert abs(len(batch) - share - rest / len(batches)) < 1
        assert len(batch) <= size + 1
