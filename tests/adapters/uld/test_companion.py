"""Whatever is asked for, in whatever order, a companion's logits are those of a plain forward pass of the assistant."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.decoder import Decoder
from adapters.lora import Lora
from adapters.uld import companion as module
from adapters.uld.assistant import shell
from adapters.uld.companion import Companion, Follower

LAYERS = ("self_attn.q_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")
kinds = pytest.mark.parametrize("kind", ["llama", "qwen2, window of 6", "qwen3", "mistral, window of 6"])


def random_lora(model, seed):
    generator = torch.Generator().manual_seed(seed)
    layers = {}
    for i in range(len(model.model.layers)):
        for name in LAYERS[seed % 2 :]:
            full = f"model.layers.{i}.{name}"
            wide, narrow = model.get_submodule(full).weight.shape
            down, up = (torch.randn(3, narrow, generator=generator), torch.randn(wide, 3, generator=generator))
            layers[full] = (0.2 * down, 0.2 * up)
    return Lora(layers)


class Assistant:
    """A companion beside its reference: for each LoRA a shell whose weights have it merged."""

    def __init__(self, model):
        self.decoder = Decoder(shell(model, 2))
        self.loras = [random_lora(shell(model, 2), seed) for seed in range(3)]
        self._merged = {}
        for lora in self.loras:
            merged = shell(model, 2)
            for name, (down, up) in lora.layers.items():
                layer = merged.get_submodule(name)
                layer.weight = torch.nn.Parameter(layer.weight + up @ down)
            self._merged[lora] = merged

    def want(self, follower):
        with torch.inference_mode():
            return self._merged[follower.lora](input_ids=torch.tensor([list(follower.tokens)])).logits[0, -1]

    def check(self, companion, followers):
        found = companion.follow(followers)
        assert found.shape == (len(followers), 60)
        for row, follower in zip(found, followers, strict=True):
            torch.testing.assert_close(row, self.want(follower), atol=1e-4, rtol=1e-4)
        return found


@pytest.fixture(scope="module")
def assistants(made):
    known = {}

    def of(kind):
        if kind not in known:
            known[kind] = Assistant(made(kind))
        return known[kind]

    return of


@pytest.fixture
def counted(monkeypatch):
    """What the decoder is asked for: how many texts are read, how many are stepped."""
    calls = []
    read, step = Decoder.read, Decoder.step

    def reading(self, readings, keep=1):
        calls.append(("read", len(readings)))
        return read(self, readings, keep)

    def stepping(self, cache, tokens):
        calls.append(("step", len(tokens)))
        return step(self, cache, tokens)

    monkeypatch.setattr(Decoder, "read", reading)
    monkeypatch.setattr(Decoder, "step", stepping)
    return calls


token = st.integers(0, 59)
texts = st.lists(token, min_size=1, max_size=9)
# what becomes of each of five texts between two calls
MOVES = ("gain", "gain", "gain", "skip", "jump", "diverge", "stay", "end", "other lora", "twin")
moves = st.lists(st.tuples(st.sampled_from(MOVES), texts), min_size=5, max_size=5)
rounds = st.lists(st.tuples(moves, st.randoms()), min_size=3, max_size=8)


@kinds
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rounds=rounds)
def test_any_sequence_of_calls_equals_a_plain_forward_pass(assistants, kind, rounds):
    assistant = assistants(kind)
    companion = Companion(assistant.decoder)
    rows = {}  # key -> [tokens, which lora]
    for moves, random in rounds:
        asked = []
        for key, (move, more) in enumerate(moves):
            row = rows.get(key)
            if row is None:
                row = rows[key] = [more, key % 3]
            elif move == "end":
                del rows[key]
                continue
            elif move == "gain":
                row[0].append(more[0])
            elif move == "jump":
                row[0] += more
            elif move == "diverge":
                row[0][len(row[0]) // 2 :] = more
            elif move == "other lora":
                row[1] = (row[1] + 1) % 3
                row[0].append(more[0])
            elif move == "twin":
                row[:] = [list(rows[min(rows)][0]), rows[min(rows)][1]]
            elif move == "skip":
                row[0].append(more[0])
                continue
            asked.append(Follower(key, row[0], assistant.loras[row[1]]))
        random.shuffle(asked)
        assistant.check(companion, asked)


def test_one_token_more_is_one_step(assistants, counted):
    assistant = assistants("llama")
    companion = Companion(assistant.decoder)
    one, two = assistant.loras[:2]
    first, second = [4, 8, 15], [16, 23]
    assistant.check(companion, [Follower("a", first, one), Follower("b", second, two)])
    for token in (1, 2, 3):
        first.append(token)
        second.append(token)
        assistant.check(companion, [Follower("b", second, two), Follower("a", first, one)])
    assert counted == [("read", 2), ("step", 2), ("step", 2), ("step", 2)]


def test_another_past_or_another_lora_is_read(assistants, counted):
    assistant = assistants("llama")
    companion = Companion(assistant.decoder)
    one, two = assistant.loras[:2]
    assistant.check(companion, [Follower("a", [4, 8], one)])
    assistant.check(companion, [Follower("a", [5, 8, 15], one)])
    assistant.check(companion, [Follower("a", [5, 8, 15, 16], two)])
    assert counted == [("read", 1)] * 3


def test_who_is_not_asked_for_is_let_go(assistants, counted):
    assistant = assistants("llama")
    companion = Companion(assistant.decoder)
    lora = assistant.loras[0]
    assistant.check(companion, [Follower("a", [4, 8], lora), Follower("b", [5], lora)])
    assistant.check(companion, [Follower("a", [4, 8, 1], lora)])
    assistant.check(companion, [Follower("a", [4, 8, 1, 2], lora), Follower("b", [5, 6], lora)])
    assert counted == [("read", 2), ("step", 1), ("step", 1), ("read", 1)]
    assert companion.follow([]).shape == (0, 60)
    assistant.check(companion, [Follower("a", [4, 8, 1, 2, 3], lora)])
    assert counted[-1] == ("read", 1)


def test_equal_texts_are_read_once(assistants, counted):
    assistant = assistants("llama")
    companion = Companion(assistant.decoder)
    one, two = assistant.loras[:2]
    copies = [Follower(i, [4, 8, 15], one) for i in range(5)]
    found = assistant.check(companion, [*copies, Follower("other", [4, 8, 15], two)])
    assert counted == [("read", 2)]
    assert (found[:5] == found[0]).all()
    assistant.check(companion, [Follower(i, [4, 8, 15, i], one) for i in range(5)])
    assert counted[1:] == [("step", 5)]


def test_long_texts_are_read_apart(assistants, counted, monkeypatch):
    monkeypatch.setattr(module, "READ_AT_ONCE", 12)
    assistant = assistants("llama")
    followers = [Follower(n, list(range(n)), assistant.loras[n % 3]) for n in (5, 1, 30, 6, 2)]
    companion = Companion(assistant.decoder)
    assistant.check(companion, followers)
    assert counted == [("read", 2), ("read", 2), ("read", 1)]
    assistant.check(companion, [Follower(one.key, [*one.tokens, 7], one.lora) for one in followers])
    assert counted[3:] == [("step", 5)]


def test_after_a_failure_all_is_read(assistants, monkeypatch):
    assistant = assistants("llama")
    companion = Companion(assistant.decoder)
    lora = assistant.loras[0]
    assistant.check(companion, [Follower("a", [4, 8], lora)])
    with monkeypatch.context() as broken:
        broken.setattr(Decoder, "read", None)  # the one is stepped, then the other cannot be read
        with pytest.raises(TypeError):
            companion.follow([Follower("a", [4, 8, 1], lora), Follower("b", [5], lora)])
    assistant.check(companion, [Follower("a", [4, 8, 1, 2], lora)])


def test_nothing_of_a_text_is_shown():
    shown = repr(Follower("a key", [4711], Lora({})))
    assert "4711" not in shown
    assert "a key" not in shown
