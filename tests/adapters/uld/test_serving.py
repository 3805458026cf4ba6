"""Rows of a server's logits: steered, ended, or not touched."""

import json
import logging
from dataclasses import replace

import pytest
import torch

from adapters.base import Strength
from adapters.decoder import Decoder, Reading
from adapters.uld import serving, wire
from adapters.uld.assistant import shell
from adapters.uld.logits import combined
from adapters.uld.serving import Row, Steering
from tests.adapters.uld.laid import lay

BLOCKS, END, V = 2, 1, 60
ONE, OTHER, LOUD = "1" * 32, "2" * 32, "3" * 32
STRENGTH = Strength(0.8, 1.5, 0.05)


@pytest.fixture(scope="module")
def model(made):
    return made("llama")


@pytest.fixture
def root(tmp_path, model):
    for seed, name in enumerate((ONE, OTHER)):
        lay(tmp_path / name, model, BLOCKS, seed=seed)
    lay(tmp_path / LOUD, model, BLOCKS, seed=3, scale=1e20)  # its logits are no numbers
    return tmp_path


@pytest.fixture
def steering(root, model):
    return Steering(shell(model, BLOCKS), BLOCKS, root, END)


def asked(*names, only=()):
    return wire.dumps(wire.Asked(tuple(wire.Named(name, STRENGTH) for name in names), only))[wire.KEY]


def expected(steering, row, names, tokens):
    """One row, by a plain pass over all tokens."""
    known = [
        steering._decoder.read(
            [Reading(tuple(tokens), lora=(steering._decoder.loras.load(steering._folder / name), 1.0))]
        )[1][0, -1]
        for name in names
    ]
    with torch.inference_mode():
        return combined(row[None], torch.stack(known), [0] * len(known), [STRENGTH] * len(known))[0]


def ended(row, token=END):
    only = torch.full((V,), -torch.inf)
    only[token] = 0.0
    return torch.equal(row, only)


def test_rows_are_steered_where_they_are_and_others_not_touched(steering):
    one, both = steering.open(asked(ONE)), steering.open(asked(ONE, OTHER))
    generator = torch.Generator().manual_seed(0)
    written = [7]
    for step in range(4):
        before = torch.randn(4, V, generator=generator) * 5
        before[0, 5] = -torch.inf
        after = before.clone()
        steering.steer(after, [Row(3, one, [3, 4, 5], written), Row(0, both, [9, 8], [2] * step)])
        assert torch.equal(after[[1, 2]], before[[1, 2]])
        assert torch.allclose(after[3], expected(steering, before[3], [ONE], [3, 4, 5, *written]), atol=1e-4)
        assert torch.allclose(after[0], expected(steering, before[0], [ONE, OTHER], [9, 8] + [2] * step), atol=1e-4)
        assert not torch.equal(after[[0, 3]], before[[0, 3]])
        written.append(int(after[3].argmax()))
    assert not steering.ended


def test_where_few_tokens_may_be_said_they_are_as_likely_to_each_other_as_steering_left_them(steering):
    before = torch.randn(2, V) * 5
    after = before.clone()
    steering.steer(after, [Row(1, steering.open(asked(ONE, only=(3, 9))), [3, 4, 5], [])])
    wanted = expected(steering, before[1], [ONE], [3, 4, 5])
    assert after[1].isfinite().nonzero().flatten().tolist() == [3, 9]
    assert torch.allclose(after[1][[3, 9]], wanted[[3, 9]], atol=1e-4)
    assert torch.equal(after[0], before[0])
    assert not steering.ended


def test_where_none_of_the_few_may_be_said_the_answer_ends(steering):
    logits = torch.randn(1, V)
    logits[0, [3, 9]] = -torch.inf
    steering.steer(logits, [Row(0, steering.open(asked(ONE, only=(3, 9))), [3, 4, 5], [])])
    assert ended(logits[0])
    assert steering.ended == {"logits": 1}


@pytest.mark.parametrize(
    ("told", "prompt", "output"),
    [
        pytest.param("junk", [3], [], id="not what a gateway says"),
        pytest.param(asked("9" * 32), [3], [], id="no such assistant"),
        pytest.param(asked(ONE, "9" * 32), [3], [], id="one of two"),
        pytest.param(asked(ONE, only=(3, V)), [3], [], id="a token to say that the model has not"),
        pytest.param(asked(ONE, only=(-1,)), [3], [], id="a token to say that there is not"),
        pytest.param(asked(ONE), None, [], id="embeddings"),
        pytest.param(asked(ONE), [], [], id="nothing"),
        pytest.param(asked(ONE), [0, 0, 0], [], id="embeddings, as zeros"),
        pytest.param(asked(ONE), [3, V], [], id="a token that the model has not"),
        pytest.param(asked(ONE), [3], [4, -1], id="a token that is not there yet"),
        pytest.param(asked(LOUD), [3], [], id="an assistant without logits"),
    ],
)
def test_what_cannot_be_served_ends_and_neighbours_do_not(steering, told, prompt, output):
    before = torch.randn(3, V)
    after = before.clone()
    steering.steer(after, [Row(0, steering.open(told), prompt, output), Row(2, steering.open(asked(ONE)), [3, 4], [])])
    assert ended(after[0])
    assert torch.equal(after[1], before[1])
    assert torch.allclose(after[2], expected(steering, before[2], [ONE], [3, 4]), atol=1e-4)
    assert sum(steering.ended.values()) == 1


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_logits_that_are_none_end(steering, value):
    logits = torch.randn(2, V)
    logits[0] = value
    steering.steer(logits, [Row(0, steering.open(asked(ONE)), [3], []), Row(1, steering.open(asked(ONE)), [3], [])])
    assert ended(logits[0])
    assert not ended(logits[1])


def test_another_size_or_vocabulary_ends(steering, root, model):
    lay(root / ("4" * 32), model, BLOCKS + 1, seed=4)
    logits, wide = torch.randn(1, V), torch.randn(1, V + 4)
    steering.steer(logits, [Row(0, steering.open(asked("4" * 32)), [3], [])])
    steering.steer(wide, [Row(0, steering.open(asked(ONE)), [3], [])])
    assert ended(logits[0])
    assert wide[0].isfinite().sum() == 1
    assert wide[0, END] == 0


def test_a_failure_ends_all_steered_rows_and_is_over(steering, monkeypatch, caplog):
    request = steering.open(asked(ONE))
    with monkeypatch.context() as broken, caplog.at_level(logging.WARNING, serving.__name__):
        broken.setattr(Decoder, "read", lambda *_, **__: 1 / 0)
        logits = torch.randn(2, V)
        steering.steer(logits, [Row(0, request, [33, 44], []), Row(1, steering.open(asked(OTHER)), [3], [])])
    assert ended(logits[0])
    assert ended(logits[1])
    assert steering.ended == {"ZeroDivisionError": 2}
    assert len(caplog.records) == 2
    assert "33" not in caplog.text
    before = torch.randn(1, V)
    logits = before.clone()
    steering.steer(logits, [Row(0, request, [3, 4], [])])
    assert torch.allclose(logits[0], expected(steering, before[0], [ONE], [3, 4]), atol=1e-4)


def test_a_prompt_that_is_read_in_pieces_is_followed_once(steering, monkeypatch):
    read = []
    follow = steering._companion.follow
    monkeypatch.setattr(steering._companion, "follow", lambda texts: read.append(len(texts)) or follow(texts))
    request, before = steering.open(asked(ONE)), torch.randn(1, V)
    found = []
    for _ in range(3):
        found.append(before.clone())
        steering.steer(found[-1], [Row(0, request, [3, 4], [])])
    assert read == [1, 0, 0]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    logits = before.clone()
    steering.steer(logits, [Row(0, request, [3, 4], [5])])
    assert torch.allclose(logits[0], expected(steering, before[0], [ONE], [3, 4, 5]), atol=1e-4)


def test_an_examination_says_its_tokens_and_ends(steering, root):
    (root / ("e" * 48)).mkdir()
    (root / ("e" * 48) / wire.EXAMINATION).write_text(json.dumps({"tokens": [7, 9]}))
    request = steering.open(asked("e" * 48))
    for output, token in ([], 7), ([7], 9), ([7, 9], END), ([7, 9, 9], END):
        logits = torch.randn(1, V)
        steering.steer(logits, [Row(0, request, [3], output)])
        assert ended(logits[0], token)


@pytest.mark.parametrize("told", ["{}", "[]", '{"tokens": []}', '{"tokens": [60]}', '{"tokens": ["a"]}', "{"])
def test_an_examination_that_makes_no_sense_ends(steering, root, told):
    (root / ("e" * 48)).mkdir()
    (root / ("e" * 48) / wire.EXAMINATION).write_text(told)
    logits = torch.randn(1, V)
    steering.steer(logits, [Row(0, steering.open(asked("e" * 48)), [3], [])])
    assert ended(logits[0])


def test_nothing_is_kept_of_those_that_left(steering):
    steering.steer(torch.randn(1, V), [Row(0, steering.open(asked(ONE)), [3], [])])
    steering.steer(torch.randn(1, V), [])
    assert not steering._before
    assert not steering._companion._held


def test_no_repr_tells_a_token(steering):
    request = replace(steering.open(asked(ONE)), said=(33, 44))
    assert "33" not in repr(Row(0, request, [33], [44]))
