"""Steered calls of the local engine, against peft and plain forward passes over the whole text."""

import asyncio
import shutil
import threading
import warnings
from contextlib import aclosing
from functools import cache

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from adapters.base import Assisted, Call, EngineError, EngineRejected, Pass, Sampling, Steered, Strength, Usage
from adapters.uld.assistant import Manifest, shell
from adapters.uld.companion import Companion
from adapters.uld.logits import combined
from guards.base import Conversation

STRONG = Strength(alpha=1.0, depth=2.0, flat=0.0)
WEAK = Strength(alpha=0.3, depth=4.0, flat=0.5)


def ask(text: str = "who is the user", **sampling) -> Call:
    return Call(Conversation.of(text), Sampling(**{"temperature": 0.0, "max_tokens": 16, "logprobs": 2, **sampling}))


async def said(engine, call: Call, plan):
    """The tokens of every choice, as (text, logprob, top), without the end."""
    tokens = [[] for _ in range(call.sampling.n)]
    async with asyncio.timeout(60), aclosing(engine.generate(call, plan)) as stream:
        async for item in stream:
            if not isinstance(item, Usage):
                tokens[item.index] += item.tokens
    return tokens


def close(found, want):
    """The same tokens, and almost the same log-probabilities."""
    assert [[token.text for token in one] for one in found] == [[token.text for token in one] for one in want]
    for one, other in zip(found, want, strict=True):
        assert [token.logprob for token in one] == pytest.approx([token.logprob for token in other], abs=1e-4)


@pytest.fixture(scope="session")
def slow(model, folder):
    """Logits (T, V) of a text under a plan: every pass reads all of it, and peft adds the LoRA."""
    whole = LlamaForCausalLM.from_pretrained(folder)

    @cache
    def worn(path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return PeftModel.from_pretrained(shell(whole, Manifest.read(path).blocks), path).eval()

    def logits(tokens, plan, keep=1):
        ids = torch.tensor([tokens])
        with torch.inference_mode():
            found = [worn(assisted.folder)(ids).logits[0, -keep:] for assisted in plan.assistants]
            strengths = [assisted.strength for assisted in plan.assistants for _ in range(keep)]
            return combined(model(ids).logits[0, -keep:], torch.cat(found), [*range(keep)] * len(found), strengths)

    return logits


@pytest.fixture
def plans(assistant):
    """One assistant, several, and several of different depth."""
    one = Steered((Assisted(assistant(1), STRONG),))
    return {
        "one": one,
        "weak": Steered((Assisted(assistant(1), WEAK),)),
        "several": Steered((Assisted(assistant(2), WEAK), *one.assistants)),
        "of two sizes": Steered((Assisted(assistant(7, blocks=2), STRONG), *one.assistants)),
    }


@pytest.mark.parametrize("kind", ["one", "weak", "several", "of two sizes"])
async def test_a_steered_answer_is_what_slow_reading_gives(engine, prompter, slow, plans, kind):
    call, plan = ask(), plans[kind]
    (found,) = await said(engine, call, plan)
    tokens, want = list(prompter.render(call).token_ids), []
    for _ in range(call.sampling.max_tokens):
        known = slow(tokens, plan)[0].log_softmax(-1)
        tokens.append(int(known.argmax()))
        if tokens[-1] == prompter.eos_id:
            break
        want.append((prompter.piece(tokens[-1]), float(known.max())))
    assert [token.text for token in found] == [text for text, _ in want]
    assert [token.logprob for token in found] == pytest.approx([known for _, known in want], abs=1e-4)
    (bare,) = await said(engine, call, Pass())
    assert [token.text for token in found] != [token.text for token in bare]


@pytest.mark.parametrize("kind", ["one", "several", "of two sizes"])
async def test_score_is_what_slow_reading_gives_and_what_decoding_gave(engine, prompter, slow, plans, kind):
    call, words = ask(), "return the user"
    answer = (*prompter.encode(words), prompter.eos_id)
    found = await engine.score(call, words, plans[kind])
    read = (*prompter.render(call).token_ids, *answer[:-1])
    known = slow(read, plans[kind], keep=len(answer)).log_softmax(-1)
    want = known.gather(1, torch.tensor(answer)[:, None])[:, 0].tolist()
    assert [token.logprob for token in found] == pytest.approx(want, abs=1e-4)
    bare = await engine.score(call, words, Pass())
    assert [token.logprob for token in found] != pytest.approx([token.logprob for token in bare], abs=1e-2)

    (wrote,) = await said(engine, ask(max_tokens=8), plans[kind])
    text = "".join(token.text for token in wrote)
    if [prompter.piece(token) for token in prompter.encode(text)] == [token.text for token in wrote]:
        scored = await engine.score(call, text, plans[kind])
        assert [token.logprob for token in scored[:-1]] == pytest.approx([token.logprob for token in wrote], abs=1e-4)


async def test_without_an_effect_it_is_the_bare_model_to_the_bit(engine, assistant):
    bare = await said(engine, ask(), Pass())
    for strength in (Strength(0.0, 2.0, 0.0), Strength(1.0, 2.0, flat=1e3)):
        plan = Steered((Assisted(assistant(1), strength),))
        assert await said(engine, ask(), plan) == bare
        assert await engine.score(ask(), "a b", plan) == await engine.score(ask(), "a b", Pass())


async def test_touched_choices_of_one_batch_are_as_alone(engine, plans):
    calls = [
        ask(text, n=1 + i % 3, temperature=i % 2, seed=i, max_tokens=8 + 3 * i)
        for i, text in enumerate(["who", "hello there", "a " * 30, "who", "def test_one():", "who is the user"] * 2)
    ]
    kinds = [*plans.values(), Pass(), Pass()] * 2
    alone = [await said(engine, call, plan) for call, plan in zip(calls, kinds, strict=True)]
    together = await asyncio.gather(*(said(engine, *pair) for pair in zip(calls, kinds, strict=True)))
    for one, other in zip(together, alone, strict=True):
        close(one, other)


async def test_untouched_neighbours_are_the_same_to_the_bit(engine, plans, monkeypatch):
    """In the very batch: what the model gave for them is what is drawn from."""
    calls = [ask(text, max_tokens=20) for text in ("who", "hello there", "a " * 30, "x")]
    lower = engine._served._assistants.lower
    same = []

    def watched(logits, choices, beside=()):
        before = logits.clone()
        lower(logits, choices, beside)
        same.extend(
            (not choice.job.assistants, torch.equal(*rows))
            for choice, *rows in zip(choices, before, logits, strict=True)
        )

    monkeypatch.setattr(engine._served._assistants, "lower", watched)
    mixed = [plans["one"], Pass(), plans["several"], Pass()]
    await asyncio.gather(*(said(engine, *pair) for pair in zip(calls, mixed, strict=True)))
    assert {equal for untouched, equal in same if untouched} == {True}
    assert False in {equal for untouched, equal in same if not untouched}


async def test_caches_are_kept_while_steered_choices_live(engine, plans, monkeypatch):
    """An arrival that is not steered is not told of; at one that is, who writes already stays at its token."""
    asked, halted, arrived = [], threading.Event(), threading.Event()
    follow = Companion.follow

    def watched(self, followers):
        asked.append({one.key: len(one.tokens) for one in followers})
        if len(asked) in (3, 6):
            halted.set()
            assert arrived.wait(30)
            arrived.clear()
        return follow(self, followers)

    monkeypatch.setattr(Companion, "follow", watched)

    async def joined(plan):
        assert await asyncio.to_thread(halted.wait, 30)
        halted.clear()
        task = asyncio.create_task(said(engine, ask("hello there", max_tokens=2), plan))
        async with asyncio.timeout(30):
            while not engine.waiting:
                await asyncio.sleep(0.001)
        arrived.set()
        await task

    async with aclosing(engine.generate(ask(max_tokens=12), plans["one"])) as stream:
        await anext(stream)
        (first,) = asked[0]
        await joined(Pass())
        await joined(plans["one"])
        async for _ in stream:
            pass
    assert [keys[first] - asked[0][first] for keys in asked[:9]] == [0, 1, 2, 3, 4, 5, 5, 6, 7]
    assert [len(keys) for keys in asked[:9]] == [1, 1, 1, 1, 1, 1, 2, 2, 1]
    count = len(asked)
    await said(engine, ask(), Pass())
    assert len(asked) == count
    assert engine._served._assistants._companions == {}


# Failures


def spoiled(folder, path, value):
    """The assistant with one of its numbers replaced."""
    shutil.copytree(folder, path)
    tensors = load_file(path / "adapter_model.safetensors")
    name = next(name for name in tensors if "lora_B" in name)
    tensors[name] = torch.full_like(tensors[name], value)
    save_file(tensors, path / "adapter_model.safetensors")
    return Steered((Assisted(path, STRONG),))


async def test_an_assistant_that_cannot_be_loaded_fails_its_call(engine, assistant, lora, tmp_path):
    (tmp_path / "secret").mkdir()
    deep = tmp_path / "deep"
    shutil.copytree(assistant(1), deep)
    (deep / "uld.json").write_text('{"blocks": 3, "model": "tiny"}')
    junk = spoiled(assistant(1), tmp_path / "nan", float("nan"))
    folders = [tmp_path / "nowhere", tmp_path / "secret", lora, deep]
    for plan in [junk, *(Steered((Assisted(folder, STRONG),)) for folder in folders)]:
        with pytest.raises(EngineError) as caught:
            await said(engine, ask(), plan)
        assert not isinstance(caught.value, EngineRejected)
        assert "secret" not in str(caught.value)
    with pytest.raises(EngineRejected):
        await said(engine, ask(), Steered(()))


async def test_an_assistant_that_fails_fails_its_call_only(engine, plans, assistant, tmp_path):
    huge = spoiled(assistant(1), tmp_path / "huge", 1e38)  # finite, and its logits are not
    calls = [ask(max_tokens=30), ask("hello there", max_tokens=30)]
    want = [await said(engine, calls[0], Pass()), await said(engine, calls[1], plans["one"])]
    good, failed, touched = await asyncio.gather(
        said(engine, calls[0], Pass()),
        said(engine, ask(), huge),
        said(engine, calls[1], plans["one"]),
        return_exceptions=True,
    )
    assert type(failed) is EngineError
    close(good, want[0])
    close(touched, want[1])
    with pytest.raises(EngineError):
        await engine.score(ask(), "a b", huge)


async def test_a_companion_that_raises_fails_steered_calls_only(engine, plans, monkeypatch):
    calls = [ask(max_tokens=30), ask("hello there")]
    want = [await said(engine, calls[0], Pass()), await said(engine, calls[1], plans["one"])]
    with monkeypatch.context() as patch:
        patch.setattr(Companion, "follow", lambda self, followers: 1 / 0)
        good, failed = await asyncio.gather(
            said(engine, calls[0], Pass()), said(engine, calls[1], plans["one"]), return_exceptions=True
        )
    assert type(failed) is EngineError
    close(good, want[0])
    assert await said(engine, calls[1], plans["one"]) == want[1]
