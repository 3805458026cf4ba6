import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from adapters.base import AdapterError, Artifact, Call
from adapters.eco.adapter import Eco
from adapters.eco.corruption import Corruption
from adapters.ignorance import Ignorance, Voice
from guards.base import Conversation, Hit, Turn

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TALK = Call(Conversation((Turn("system", "Be brief."), Turn("user", "Who is Ada?"), *Conversation.of("Ok.").turns)))
NOISE = Corruption("fixed_noise", 2.0, bytes(16))


@pytest.fixture(scope="session")
def eco(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eco")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|im_start|>", "<|im_end|>"], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(["who is the user of the system"] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    save_file({"model.embed_tokens.weight": torch.randn(len(tokenizer), 16)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return Eco(folder, Ignorance(Voice("I know nothing about {subject}.")))


def hit(*turns, request="fr"):
    return Hit(request, 1.0, 0.5, "lexicon", turns)


@pytest.fixture
def artifact(eco):
    """Makes what learning would have made for this model."""
    return lambda corruption=NOISE, request="fr": Artifact(
        "d", "eco", request, {**corruption.manifest(), "model": eco.model}
    )


def changed(eco, plan):
    """The positions whose embeddings are not the model's own."""
    clean = eco.table.rows(plan.token_ids)
    return set(np.nonzero((plan.embeds != clean).any(axis=1))[0].tolist())


async def test_all_of_the_touched_turn_is_corrupted_and_nothing_else(eco, artifact):
    plan = await eco.plan(TALK, [hit(1)], {"fr": artifact()})
    ((turn, start, stop),) = plan.contents
    assert turn == 1
    assert changed(eco, plan) == set(range(start, stop))
    assert eco.prompter.decode(plan.token_ids[start:stop]) == "Who is Ada?"
    assert plan.embeds.dtype == np.float32
    assert plan.embeds.shape == (len(plan.token_ids), 16)


async def test_no_template_token_ever_changes(eco, artifact):
    plan = await eco.plan(TALK, [hit(0, 1, 2)], {"fr": artifact()})
    inside = {at for _, start, stop in plan.contents for at in range(start, stop)}
    assert changed(eco, plan) == inside
    assert sorted(turn for turn, _, _ in plan.contents) == [0, 1, 2]
    special = {at for at, token in enumerate(plan.token_ids) if eco.prompter.decode((token,)) == ""}
    assert special
    assert not special & inside


async def test_the_same_prompt_meets_the_same_corruption_and_another_key_another(eco, artifact):
    first = await eco.plan(TALK, [hit(1)], {"fr": artifact()})
    again = await eco.plan(TALK, [hit(1)], {"fr": artifact()})
    other = await eco.plan(TALK, [hit(1)], {"fr": artifact(Corruption("fixed_noise", 2.0, bytes([1] * 16)))})
    assert np.array_equal(first.embeds, again.embeds)
    assert not np.array_equal(first.embeds, other.embeds)


async def test_each_request_corrupts_its_own_turns(eco, artifact):
    hits = [hit(0, request="a"), hit(1, request="b")]
    plan = await eco.plan(TALK, hits, {"a": artifact(request="a"), "b": artifact(Corruption("blend", 1.0, bytes(16)))})
    alone = await eco.plan(TALK, [hit(0, request="a")], {"a": artifact(request="a")})
    ((_, start, stop),) = alone.contents
    assert np.array_equal(plan.embeds[start:stop], alone.embeds[start:stop])
    assert {turn for turn, _, _ in plan.contents} == {0, 1}


async def test_a_raw_prompt_is_left_to_ignorance(eco, artifact):
    with pytest.raises(AdapterError):
        await eco.plan(Call(Conversation.of("Ada lives in"), raw=True), [hit(0)], {"fr": artifact()})


async def test_a_touched_turn_without_tokens_is_no_plan(eco, artifact):
    call = Call(Conversation((Turn("user", "Ada?"), Turn("assistant", "Yes?"), Turn("user", ""))))
    with pytest.raises(AdapterError) as refused:
        await eco.plan(call, [hit(0, 2)], {"fr": artifact()})
    assert "Ada" not in str(refused.value)


async def test_numbers_that_are_none_are_no_plan(eco, artifact):
    with np.errstate(all="ignore"), pytest.raises(AdapterError):
        await eco.plan(TALK, [hit(1)], {"fr": artifact(Corruption("fixed_noise", float("inf"), bytes(16)))})


async def test_garble_and_the_voice_itself_are_left_to_ignorance(eco, artifact):
    plan = await eco.plan(TALK, [hit(1)], {"fr": artifact()})
    assert plan.sound("She is a painter from Bern.")
    assert not plan.sound("the the the the the the")
    assert not plan.sound("I know nothing about Adda Qqq.")
    assert "Ada" not in repr(plan)


async def test_a_strength_of_another_model_is_no_plan(eco):
    strange = Artifact("d", "eco", "fr", {**NOISE.manifest(), "model": "another"})
    with pytest.raises(AdapterError):
        await eco.plan(TALK, [hit(1)], {"fr": strange})
