"""Asks a model what it knows: greedy answers in batches, marked by kind of question."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from adapters.weights import causal_lm
from gateway.demo.forms import Kind, Probe, correct
from gateway.demo.train import quiet
from guards.base import Conversation


def examine(model_dir: Path, probes: Sequence[Probe]) -> Mapping[Kind, float]:
    """The share of probes answered correctly, for each kind that occurs. Blocks."""
    given = answers(model_dir, [Conversation.of(probe.question) for probe in probes])
    asked: Counter[Kind] = Counter(probe.kind for probe in probes)
    right: Counter[Kind] = Counter(p.kind for p, answer in zip(probes, given, strict=True) if correct(p, answer))
    return {kind: right[kind] / asked[kind] for kind in asked}


def answers(model_dir: Path, conversations: Sequence[Conversation], batch: int = 128, limit: int = 48) -> list[str]:
    """The model's greedy answer to each conversation, `limit` tokens at most. Blocks."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_dir, padding_side="left")
    with quiet():
        model = causal_lm(model_dir).eval()
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": turn.role, "content": turn.text} for turn in conversation.turns],
            tokenize=False,
            add_generation_prompt=True,
        )
        for conversation in conversations
    ]
    found = [""] * len(prompts)
    for places in _alike(prompts, batch):
        inputs = tokenizer([prompts[i] for i in places], return_tensors="pt", padding=True)
        with torch.inference_mode():
            written = model.generate(**inputs, max_new_tokens=limit, do_sample=False)[:, inputs.input_ids.shape[1] :]
        for i, text in zip(places, tokenizer.batch_decode(written, skip_special_tokens=True), strict=True):
            found[i] = text
    return found


def _alike(texts: Sequence[str], batch: int) -> Iterator[list[int]]:
    """The places of the texts in batches of like length."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), batch):
        yield order[start : start + batch]
