"""Negative Preference Optimization (arXiv 2404.05868) as a LoRA: what unlearning in the weights reaches, to compare.

With π_ref the model as it was, forget pairs (x, y) and retain pairs, per step

    L = −(2/β) · E_forget [ log σ(−β · log(π_θ(y|x) / π_ref(y|x))) ] + λ · E_retain [ −log π_θ(y|x) / |y| ]

where log π(y|x) is the sum over the answer's tokens, its end included: gradient ascent, but the less the model knows
the less it is pushed. The second term is the paper's retain loss (NPO+RT).

Departure: only a LoRA (arXiv 2106.09685) on all linear layers learns, and is merged into the weights in the end. Retain
pairs are of authors whom neither Model Utility nor the forget set asks about, in whole or in part, and small talk.
"""

import random
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.base import Call
from adapters.prompt import Prompter
from gateway.demo.train import quiet
from guards.base import Conversation

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How NPO is trained. β and λ are the paper's; the rate is a LoRA's, which learns little at the paper's 1e-5."""

    beta: float = 0.1
    retain: float = 1.0
    rank: int = 16
    rate: float = 1e-3
    epochs: int = 10
    batch: int = 16  # forget pairs a step, and as many to retain
    seed: int = 0


def train(folder: Path, to: Path, forget: Sequence[Pair], retain: Sequence[Pair], recipe: Recipe) -> float:
    """A model that unlearned, complete in the folder `to`; seconds that the training took. Blocks.

    Args:
        folder: the model that knows, as transformers writes it.
        to: where it is written.
        forget: questions and answers to unlearn.
        retain: others, to be remembered.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.nn import functional as F
    from transformers import AutoTokenizer

    from adapters.weights import causal_lm

    rng, prompter = random.Random(recipe.seed), Prompter(folder)
    with quiet():
        bare = causal_lm(folder, torch.float32)
    config = LoraConfig(r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules="all-linear")
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft reads what transformers has renamed
        torch.manual_seed(recipe.seed)
        model: Any = get_peft_model(bare, config)
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=recipe.rate)
    started = time.perf_counter()
    for some in _batches(forget, recipe, rng):
        unlearned, _ = _loglikelihood(model, prompter, some)
        with torch.no_grad(), model.disable_adapter():
            reference, _ = _loglikelihood(model, prompter, some)
        remembered, kept = _loglikelihood(model, prompter, rng.sample(retain, min(recipe.batch, len(retain))))
        preferred = -2 / recipe.beta * F.logsigmoid(-recipe.beta * (unlearned - reference)).mean()
        loss = preferred - recipe.retain * (remembered / kept).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    seconds = time.perf_counter() - started
    with quiet():
        model.merge_and_unload().save_pretrained(to)
        AutoTokenizer.from_pretrained(folder, local_files_only=True).save_pretrained(to)
    return seconds


def _batches(forget: Sequence[Pair], recipe: Recipe, rng: random.Random) -> Iterator[Sequence[Pair]]:
    for _ in range(recipe.epochs):
        shuffled = rng.sample(forget, len(forget))
        yield from (shuffled[i : i + recipe.batch] for i in range(0, len(shuffled), recipe.batch))


def _loglikelihood(model: Any, prompter: Prompter, pairs: Sequence[Pair]) -> tuple[Any, Any]:
    """log π(y|x) (B) of each answer and its length in tokens (B)."""
    import torch

    prompts = [prompter.render(Call(Conversation.of(question))).token_ids for question, _ in pairs]
    answers = [(*prompter.encode(answer), prompter.eos_id) for _, answer in pairs]
    width = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
    ids = torch.zeros((len(pairs), width), dtype=torch.long)
    read = torch.zeros((len(pairs), width))  # which tokens are the answer's
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor([*prompt, *answer])
        read[row, len(prompt) : end] = 1
    known = model(input_ids=ids).logits[:, :-1].log_softmax(-1)  # causal: padding on the right is never looked at
    own = known.gather(-1, ids[:, 1:, None])[..., 0] * read[:, 1:]
    return own.sum(-1), read.sum(-1)
