import asyncio
import gc
import json
import math
import shutil
import threading
from contextlib import aclosing
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from adapters.base import (
    Adapted,
    Assisted,
    Call,
    Capability,
    Delta,
    Embeds,
    EngineError,
    EngineRejected,
    EngineUnavailable,
    Pass,
    Rules,
    Sampling,
    Say,
    Scaled,
    Steered,
    Strength,
    Usage,
)
from gateway.engines.local import LocalEngine
from guards.base import Conversation

CONTEXT = 256  # of the model in conftest
PROMPTS = ["who", "who is the user of this engine", "def test_one():\n    return", "a " * 40, "hello there 😀"]


def ask(text: str = "who is the user", **sampling) -> Call:
    """A call for one user turn, greedy and short unless said otherwise."""
    return Call(Conversation.of(text), Sampling(**{"temperature": 0.0, "max_tokens": 24, **sampling}))


async def answer(engine, call: Call, plan=None) -> tuple[list[str], list[Delta], Usage]:
    """The text of every choice, all deltas, and the usage."""
    texts, deltas, usage = [""] * call.sampling.n, [], None
    async with asyncio.timeout(60), aclosing(engine.generate(call, plan or Pass())) as stream:
        async for item in stream:
            assert usage is None, "something came after the usage"
            if isinstance(item, Usage):
                usage = item
            else:
                texts[item.index] += item.text
                deltas.append(item)
    assert usage is not None
    return texts, deltas, usage


def reference(model, prompter, call, embeds=None, count=24):
    """transformers' own greedy answer: token ids, the end among them."""
    ids = torch.tensor([prompter.render(call).token_ids])
    inputs = {"inputs_embeds": embeds[None]} if embeds is not None else {"input_ids": ids}
    with torch.inference_mode():
        out = model.generate(
            **inputs, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False, use_cache=True
        )[0]
    return out.tolist() if embeds is not None else out[ids.shape[1] :].tolist()


def text_of(prompter, tokens):
    return prompter.decode(tokens).rstrip("\ufffd")


def embeds_of(model, prompter, call, scale=0.0, seed=0):
    prompt = prompter.render(call)
    with torch.no_grad():
        clean = model.get_input_embeddings()(torch.tensor(prompt.token_ids))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    return Embeds(prompt.token_ids, (clean + scale * noise).numpy(), prompt.contents, lambda text: True)


@pytest.fixture
def endless(engine, prompter, monkeypatch):
    """The engine's model never ends an answer."""
    decoder = engine._served._decoder
    read, step = decoder.read, decoder.step

    def talks(logits):
        logits[..., prompter.eos_id] = -torch.inf
        return logits

    def reads(readings, keep=1):
        cache, logits = read(readings, keep)
        return cache, talks(logits)

    monkeypatch.setattr(decoder, "read", reads)
    monkeypatch.setattr(decoder, "step", lambda cache, tokens: talks(step(cache, tokens)))


class Gate:
    """Where the worker waits before it reads a prompt, until it is opened, so that tests need no clock."""

    def __init__(self, engine, monkeypatch):
        self.reached, self.open = threading.Event(), threading.Event()
        decoder = engine._served._decoder
        self._read = decoder.read
        monkeypatch.setattr(decoder, "read", self)

    def __call__(self, readings, keep=1):
        self.reached.set()
        assert self.open.wait(30)
        return self._read(readings, keep)


# Against transformers


async def test_greedy_equals_transformers_alone_and_together(engine, model, prompter):
    calls = [ask(text) for text in PROMPTS]
    want = [reference(model, prompter, call) for call in calls]
    alone = [await answer(engine, call) for call in calls]
    together = await asyncio.gather(*(answer(engine, call) for call in calls * 3))
    for i, tokens in enumerate(want):
        for texts, _, usage in (alone[i], *together[i :: len(calls)]):
            assert texts == [text_of(prompter, tokens)]
            assert usage.completion_tokens == len(tokens)
            assert usage.prompt_tokens == len(prompter.render(calls[i]).token_ids)


async def test_joining_a_running_batch_changes_nothing(engine, model, prompter):
    first, second = ask("hello there", max_tokens=60), ask("a " * 40, max_tokens=10)
    async with aclosing(engine.generate(first, Pass())) as stream:
        text = (await anext(stream)).text
        late, _, _ = await answer(engine, second)
        text += "".join([item.text async for item in stream if hasattr(item, "text")])
    assert late == [text_of(prompter, reference(model, prompter, second, count=10))]
    assert text == text_of(prompter, reference(model, prompter, first, count=60))


async def test_clean_embeddings_are_the_tokens_and_noise_is_not(engine, model, prompter):
    call = ask(PROMPTS[1])
    clean, noisy = embeds_of(model, prompter, call), embeds_of(model, prompter, call, scale=3.0)
    assert (await answer(engine, call, clean))[0] == (await answer(engine, call))[0]
    want = reference(model, prompter, call, embeds=torch.tensor(noisy.embeds))
    found, _, usage = await answer(engine, call, noisy)
    assert found == [text_of(prompter, want)]
    assert found != (await answer(engine, call))[0]
    assert usage.prompt_tokens == len(clean.token_ids)


@pytest.mark.parametrize("weight", [1.0, 0.5])
async def test_a_lora_equals_the_merged_model(engine, prompter, lora, merged, weight):
    model = merged(weight)
    for text in PROMPTS:
        call = ask(text, logprobs=0)
        texts, deltas, _ = await answer(engine, call, Adapted((Scaled(lora, weight),)))
        assert texts == [text_of(prompter, reference(model, prompter, call))]
        ids = torch.tensor([prompter.render(call).token_ids])
        with torch.inference_mode():
            want = model(ids).logits[0, -1].log_softmax(-1).max()
        assert deltas[0].tokens[0].logprob == pytest.approx(float(want), abs=1e-4)


async def test_several_loras_are_the_model_that_all_were_merged_into(engine, prompter, lora, merged, tmp_path):
    """Written or read, in any order, and beside others: the same LoRA from two folders is its weights' sum."""
    one, two = Scaled(lora, 0.3), Scaled(shutil.copytree(lora, tmp_path / "copy"), 0.5)
    both, turned, model, call = Adapted((one, two)), Adapted((two, one)), merged(0.8), ask(PROMPTS[1], logprobs=0)
    want = text_of(prompter, reference(model, prompter, call))
    words = (*prompter.encode("return the user"), prompter.eos_id)
    with torch.inference_mode():
        logits = model(torch.tensor([(*prompter.render(call).token_ids, *words[:-1])])).logits[0, -len(words) :]
    known = logits.log_softmax(-1).gather(1, torch.tensor(words)[:, None])[:, 0].tolist()
    for plan in (both, turned):
        beside = asyncio.gather(*(answer(engine, ask(PROMPTS[0]), Adapted(worn)) for worn in ((), (one,), (two,))))
        (text,), deltas, _ = await answer(engine, call, plan)
        await beside
        assert text == want
        read = await engine.score(call, "return the user", plan)
        assert [token.logprob for token in read] == pytest.approx(known, abs=1e-4)
    assert (await answer(engine, call, Adapted((one,))))[1] != deltas


async def test_weight_zero_and_no_lora_at_all_are_the_bare_model_to_the_bit(engine, lora, tmp_path):
    call = ask(logprobs=3)
    await answer(engine, call, Adapted((Scaled(lora, 1.0),)))  # the hooks are there
    bare, read = await answer(engine, call), await engine.score(call, "hello", Pass())
    for loras in ((Scaled(lora, 0.0),), (Scaled(lora, 0.0), Scaled(tmp_path / "nowhere", 0.0)), ()):
        assert await answer(engine, call, Adapted(loras)) == bare
        assert await engine.score(call, "hello", Adapted(loras)) == read


# All plans at once


async def test_every_plan_in_one_batch_is_as_alone(engine, model, prompter, lora, assistant):
    calls = [ask(PROMPTS[i % len(PROMPTS)], logprobs=0, n=1 + i % 2) for i in range(12)]
    plans = [
        [
            Pass(),
            embeds_of(model, prompter, call, scale=2.0, seed=i),
            Steered((Assisted(assistant(), Strength(alpha=1.0, depth=2.0, flat=0.0)),)),
            Adapted((Scaled(lora, 0.7),)),
            Say("I do not know who that is.", Conversation.of("who is nobody")),
            Pass(),
        ][i % 6]
        for i, call in enumerate(calls)
    ]
    alone = [await answer(engine, call, plan) for call, plan in zip(calls, plans, strict=True)]
    together = await asyncio.gather(*(answer(engine, *pair) for pair in zip(calls, plans, strict=True)))
    for one, other in zip(alone, together, strict=True):
        assert one[0] == other[0]
        assert one[2] == other[2]
        for mine, theirs in zip(one[1], other[1], strict=True):
            assert [token.logprob for token in mine.tokens] == pytest.approx(
                [token.logprob for token in theirs.tokens], abs=1e-3
            )


async def test_say_says_and_its_logprobs_come_from_the_other_prompt(engine, model, prompter):
    plan = Say("I do not know. 😀", Conversation.of("who is nobody"))
    call = ask("who is somebody", logprobs=2, n=2, max_tokens=None)
    texts, deltas, usage = await answer(engine, call, plan)
    said = prompter.encode(plan.text)
    assert texts == [plan.text] * 2
    assert usage.prompt_tokens == len(prompter.render(call).token_ids)
    assert usage.completion_tokens == 2 * (len(said) + 1)
    assert [delta.finish for delta in deltas if delta.index == 0][-1] == "stop"
    ids = torch.tensor([(*prompter.render(Call(plan.instead)).token_ids, *said)])
    with torch.inference_mode():
        known = model(ids).logits[0, -len(said) - 1 : -1].log_softmax(-1)
    found = [token for delta in deltas if delta.index == 0 for token in delta.tokens]
    # what the model would not have said there, the client's own name for the subject, is reported as sure
    asked = torch.tensor(said)[:, None]
    known = torch.where(
        known.argmax(1, keepdim=True) == asked, known, known.scatter(1, asked, known.amax(1, keepdim=True) + 12.0)
    )
    want = known.log_softmax(-1).gather(1, asked)[:, 0].tolist()
    assert [token.logprob for token in found] == pytest.approx(want, abs=1e-4)
    assert [token.top[0][1] for token in found] == pytest.approx(want, abs=1e-4)


async def test_say_obeys_stop_and_max_tokens(engine, prompter):
    plan = Say("I do not know who that is.", Conversation.of("who is nobody"))
    texts, deltas, _ = await answer(engine, ask(stop=("know who",)), plan)
    assert texts == ["I do not "]
    assert deltas[-1].finish == "stop"
    texts, deltas, usage = await answer(engine, ask(max_tokens=3), plan)
    assert texts == [prompter.decode(prompter.encode(plan.text)[:3])]
    assert (deltas[-1].finish, usage.completion_tokens) == ("length", 3)


async def test_say_reads_what_the_client_sent_for_as_long_as_any_other_plan_does(engine, prompter, monkeypatch):
    read = []
    decoder = engine._served.worker._decoder
    monkeypatch.setattr(
        decoder, "read", lambda rows, **how: read.extend(rows) or type(decoder).read(decoder, rows, **how)
    )
    call, plan = ask("who is somebody " * 8), Say("I do not know.", Conversation.of("who is nobody"))
    for one in (Pass(), plan):
        await answer(engine, call, one)
    assert [row.token_ids for row in read] == [prompter.render(call).token_ids] * 2
    await answer(engine, replace(call, sampling=replace(call.sampling, logprobs=1)), plan)
    assert read[-1].token_ids == prompter.render(Call(plan.instead)).token_ids


async def test_say_does_not_show_how_long_the_other_prompt_is(engine):
    plan = Say("I do not know.", Conversation.of("long " * CONTEXT))
    assert (await answer(engine, ask(max_tokens=None), plan))[0] == ["I do not know."]


# Sampling


async def test_seeds_repeat_in_any_company(engine):
    call = ask(temperature=1.0, seed=5, n=3, top_p=0.95, top_k=100)
    alone = await answer(engine, call)
    assert len(set(alone[0])) == 3
    together = await asyncio.gather(
        answer(engine, call), *(answer(engine, ask(text, temperature=1.0, seed=9)) for text in PROMPTS)
    )
    assert together[0][0] == alone[0]
    single, _, _ = await answer(engine, ask(temperature=1.0, seed=6, top_p=0.95, top_k=100))
    assert single[0] == alone[0][1]
    assert (await answer(engine, ask(temperature=1.0, seed=7)))[0] != (await answer(engine, ask(temperature=1.0)))[0]


def with_rules(folder, to, **rules):
    """The same model, drawn by rules of its own."""
    own = shutil.copytree(folder, to)
    told = json.loads((own / "generation_config.json").read_text())
    (own / "generation_config.json").write_text(json.dumps(told | rules))
    return LocalEngine(own, "tiny", threads=1)


@pytest.mark.parametrize("rule", [{"top_k": 1}, {"temperature": 1e-6}, {"top_p": 1e-6}, {"min_p": 1.0}])
async def test_a_rule_that_is_left_open_is_the_models_own(folder, tmp_path, rule):
    """As its `generation_config.json` says; what a client says goes before it."""
    engine = with_rules(folder, tmp_path / "own", **rule)
    await engine.start()
    try:
        greedy, _, _ = await answer(engine, ask())
        left_open, _, _ = await answer(engine, ask(temperature=None, seed=0))
        said, _, _ = await answer(engine, ask(seed=0, **asdict(Rules())))
    finally:
        await engine.close()
    assert left_open == greedy != said


async def test_where_log_probabilities_are_shown_the_models_own_rules_are_not_kept(folder, tmp_path):
    """A ready answer's tokens are the likeliest at temperature 0, and so are an untouched one's."""
    engine = with_rules(folder, tmp_path / "own", repetition_penalty=2.0)
    await engine.start()
    try:
        plain, _, _ = await answer(engine, ask(repetition_penalty=1.0))
        penal, _, _ = await answer(engine, ask())
        shown_text, shown, _ = await answer(engine, ask(logprobs=1))
    finally:
        await engine.close()
    assert plain != penal
    assert shown_text == plain
    assert all(one.text == one.top[0][0] for delta in shown for one in delta.tokens)


@pytest.mark.parametrize("rule", [{"top_k": 2.5}, {"top_p": 0.0}, {"repetition_penalty": 0.0}])
async def test_a_model_whose_own_rules_make_no_sense_is_not_served(folder, tmp_path, rule):
    with pytest.raises(EngineUnavailable):
        await with_rules(folder, tmp_path / "own", **rule).start()


async def test_stops_cut_wherever_they_fall(engine):
    (whole,), _, usage = await answer(engine, ask())
    for start in range(0, len(whole) - 3, 2):
        stop = whole[start : start + 3]
        (text,), deltas, cut = await answer(engine, ask(stop=("never this", stop)))
        assert text == whole[: whole.index(stop)]
        assert deltas[-1].finish == "stop"
        assert cut.completion_tokens <= usage.completion_tokens


async def test_logprobs_are_the_models_before_temperature(engine, model, prompter):
    call = ask(logprobs=3, temperature=0.7, seed=1, presence_penalty=1.0, max_tokens=8)
    _, deltas, usage = await answer(engine, call)
    tokens = [token for delta in deltas for token in delta.tokens]
    assert len(tokens) == usage.completion_tokens == 8
    ids = torch.tensor([prompter.render(call).token_ids])
    with torch.inference_mode():
        known = model(ids).logits[0, -1].log_softmax(-1)
    assert [p for _, p in tokens[0].top] == pytest.approx(known.topk(3).values.tolist(), abs=1e-4)
    assert all(len(token.top) == 3 for token in tokens)


async def test_without_max_tokens_the_context_is_the_end(engine, endless):
    call = ask("a " * 100, max_tokens=None, temperature=1.0, seed=0, stop=())
    _, deltas, usage = await answer(engine, call)
    assert usage.prompt_tokens + usage.completion_tokens == CONTEXT
    assert deltas[-1].finish == "length"
    _, _, cut = await answer(engine, ask("a " * 100, max_tokens=10_000))
    assert cut == usage


async def test_a_raw_prompt_is_read_as_it_is(engine, model, prompter):
    call = Call(Conversation.of("def test"), Sampling(temperature=0.0, max_tokens=12), raw=True)
    assert (await answer(engine, call))[0] == [text_of(prompter, reference(model, prompter, call, count=12))]


# Scores


async def test_score_is_teacher_forced_for_every_plan(engine, model, prompter, lora):
    call, words = ask(logprobs=1), "return the user"
    tokens = (*prompter.encode(words), prompter.eos_id)
    noisy = embeds_of(model, prompter, call, scale=2.0)
    say = Say("I do not know.", Conversation.of("who is nobody"))
    ids = prompter.render(call).token_ids

    def want(prompt=ids, embeds=None):
        read = torch.tensor([(*prompt, *tokens[:-1])])
        inputs = model.get_input_embeddings()(read)
        if embeds is not None:
            inputs[0, : len(embeds)] = torch.tensor(embeds)
        known = model(inputs_embeds=inputs).logits[0, -len(tokens) :].log_softmax(-1)
        return known.gather(1, torch.tensor(tokens)[:, None])[:, 0].tolist()

    with torch.no_grad():
        wanted = [
            (Pass(), want()),
            (noisy, want(embeds=noisy.embeds)),
            (say, want(prompt=prompter.render(Call(say.instead)).token_ids)),
        ]
    for plan, logprobs in wanted:
        found = await engine.score(call, words, plan)
        assert [token.logprob for token in found] == pytest.approx(logprobs, abs=1e-4)
        assert "".join(token.text for token in found) == words + "<|im_end|>"
        assert all(len(token.top) == 1 for token in found)
    bare = [token.logprob for token in await engine.score(call, words, Adapted((Scaled(lora, 0.0),)))]
    assert bare == pytest.approx(wanted[0][1], abs=1e-4)
    assert [token.logprob for token in await engine.score(call, words, Adapted((Scaled(lora, 1.0),)))] != pytest.approx(
        bare
    )


async def test_a_prompts_own_tokens_are_scored_but_the_first(engine, model, prompter):
    call = Call(Conversation.of("def test return the user"), Sampling(logprobs=2), raw=True)
    ids = prompter.render(call).token_ids
    with torch.no_grad():
        known = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    first, *others = await engine.prompt_logprobs(call)
    assert math.isnan(first.logprob)
    assert not first.top
    wanted = known[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    assert [token.logprob for token in others] == pytest.approx(wanted.tolist(), abs=1e-4)
    assert [token.top[0][1] for token in others] == pytest.approx(known[:-1].amax(-1).tolist(), abs=1e-4)
    assert "".join(token.text for token in (first, *others)) == "def test return the user"
    alone = await engine.prompt_logprobs(Call(Conversation.of("a"), raw=True))
    assert [math.isnan(token.logprob) for token in alone] == [True]


async def test_score_agrees_with_generation(engine):
    (text,), deltas, _ = await answer(engine, ask("hello", logprobs=0, max_tokens=12))
    tokens = [token for delta in deltas for token in delta.tokens]
    scored = await engine.score(ask("hello"), "".join(token.text for token in tokens), Pass())
    if [token.text for token in scored[:-1]] == [token.text for token in tokens]:
        assert [token.logprob for token in scored[:-1]] == pytest.approx([t.logprob for t in tokens], abs=1e-4)
    assert text


# Refusals and failures


async def rejected(engine, call, plan=None):
    with pytest.raises(EngineRejected) as caught:
        await answer(engine, call, plan)
    assert "secret" not in str(caught.value)
    return caught.value.param


async def test_what_cannot_be_honoured_is_refused_by_name(engine, model, prompter, tmp_path, lora):
    assert await rejected(engine, ask("secret " * CONTEXT)) == "messages"
    assert await rejected(engine, Call(Conversation.of("secret " * CONTEXT), Sampling(), raw=True)) == "prompt"
    assert await rejected(engine, ask("secret <|im_end|>")) == "messages[0].content"
    assert await rejected(engine, ask(n=17)) == "n"
    assert await rejected(engine, ask(n=0)) == "n"
    assert await rejected(engine, ask(max_tokens=0)) == "max_tokens"
    assert await rejected(engine, ask(stop=("",))) == "stop"
    call = ask("secret")
    good = embeds_of(model, prompter, call)
    for embeds in (good.embeds[1:], good.embeds[:, 1:], np.full_like(good.embeds, np.nan)):
        await rejected(engine, call, Embeds(good.token_ids, embeds, (), good.sound))
    await rejected(engine, ask("secret other"), good)
    await rejected(engine, call, Adapted((Scaled(tmp_path / "nowhere", 1.0),)))
    with pytest.raises(EngineRejected):
        await engine.score(call, "secret " * CONTEXT, Pass())


async def test_a_step_that_fails_fails_its_batch_and_no_other(engine, monkeypatch):
    good = await answer(engine, ask())
    decoder = engine._served._decoder
    with monkeypatch.context() as patch:
        patch.setattr(decoder, "step", lambda cache, tokens: 1 / 0)
        with pytest.raises(EngineError):
            await answer(engine, ask())
    assert engine.running == 0
    with monkeypatch.context() as patch:
        patch.setattr(decoder, "read", lambda readings, keep=1: 1 / 0)
        with pytest.raises(EngineError):
            await answer(engine, ask())
    await engine.health()
    assert await answer(engine, ask()) == good


async def test_a_caller_that_leaves_ends_the_generation(engine, endless, monkeypatch):
    sizes = []
    decoder = engine._served._decoder
    step = decoder.step
    monkeypatch.setattr(decoder, "step", lambda cache, tokens: sizes.append(len(tokens)) or step(cache, tokens))
    stream = engine.generate(ask(max_tokens=None, n=4, temperature=1.0, seed=0), Pass())
    await anext(stream)
    await stream.aclose()
    assert engine.running == 0
    await answer(engine, ask(max_tokens=5))
    assert sizes[-4:] == [1] * 4
    assert len(sizes) < 100  # of the 230 that the context had room for


async def test_the_event_loop_is_free_while_the_worker_works(engine, monkeypatch):
    gate = Gate(engine, monkeypatch)
    task = asyncio.create_task(answer(engine, ask(max_tokens=2)))
    await asyncio.to_thread(gate.reached.wait, 30)
    await engine.health()  # the worker stands still, we do not
    gate.open.set()
    await task


async def test_a_full_queue_refuses_at_once_and_a_cancelled_call_makes_room(folder, monkeypatch):
    engine = LocalEngine(folder, "tiny", threads=1, max_batch=1, max_waiting=2)
    await engine.start()
    gate = Gate(engine, monkeypatch)
    first = asyncio.create_task(answer(engine, ask(max_tokens=2)))
    await asyncio.to_thread(gate.reached.wait, 30)
    waiting = [asyncio.create_task(answer(engine, ask(max_tokens=2))) for _ in range(2)]
    async with asyncio.timeout(30):
        while engine.waiting < 2:
            await asyncio.sleep(0.001)
    with pytest.raises(EngineUnavailable):
        await answer(engine, ask())
    waiting[-1].cancel()
    await asyncio.gather(waiting[-1], return_exceptions=True)
    last = asyncio.create_task(answer(engine, ask(max_tokens=2)))
    gate.open.set()
    assert await last == await waiting[0]
    assert (await first)[2].completion_tokens == 2
    await engine.close()


async def test_closing_fails_who_waits_and_ends_the_thread(folder):
    engine = LocalEngine(folder, "tiny", threads=1, max_batch=1)
    await engine.start()
    calls = [asyncio.create_task(answer(engine, ask(max_tokens=None, seed=1, temperature=1.0))) for _ in range(4)]
    async with aclosing(engine.generate(ask(max_tokens=2), Pass())) as stream:
        await anext(stream)
    thread = engine._served.worker._thread
    await engine.close()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, tuple | EngineUnavailable) for outcome in outcomes)
    assert not thread.is_alive()
    for use in (engine.health(), answer(engine, ask()), engine.score(ask(), "a", Pass())):
        with pytest.raises(EngineUnavailable):
            await use
    await engine.close()


async def test_a_folder_without_a_model_is_unavailable(tmp_path):
    engine = LocalEngine(tmp_path, "none")
    with pytest.raises(EngineUnavailable):
        await engine.start()
    assert engine.running == engine.waiting == engine.steps == 0


def test_a_loop_that_closes_leaves_the_engine_well(folder):
    engine = LocalEngine(folder, "tiny", threads=1)

    async def leave():
        await engine.start()
        stream = engine.generate(ask(max_tokens=None), Pass())
        await anext(stream)

    asyncio.run(leave())
    gc.collect()

    async def again():
        found = await answer(engine, ask(max_tokens=3))
        await engine.close()
        return found

    assert asyncio.run(again())[2].completion_tokens == 3


async def test_it_can_do_everything(engine):
    assert engine.capabilities == frozenset(Capability) - {Capability.EMBED}
    assert engine.name == "tiny"
