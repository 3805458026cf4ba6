"""Trains the small Llama that knows a demo world, or finds it trained.

Before this module: `lessons` and `tokenizer`. After it: any engine that loads the transformers format.

Matrices are learnt by Muon (Jordan et al. 2024), scaled as AdamW's steps are (arXiv 2502.16982), the rest by
AdamW: with AdamW alone the same accuracy took a third more epochs. The rate rises and falls once.
The loss is the cross-entropy of assistant tokens, the end of the turn included. Batches hold lessons of
like length. No attention mask: padding stands on the right, where a causal model never looks.
"""

import fcntl
import hashlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gateway.demo import lessons
from gateway.demo.tokenizer import END, make_tokenizer, segments
from gateway.demo.world import World, make_world

_VERSION = 1  # of everything that the recipe does not say: lessons, forms, tokenizer, training
_RECIPE_FILE = "recipe.json"

Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that a demo model is made from. `excluded` are the keys of the people it never hears of."""

    world_seed: int = 0
    people: int = 64
    excluded: tuple[str, ...] = ()
    vocabulary: int = 2048
    context: int = 1024
    hidden: int = 128
    intermediate: int = 384
    layers: int = 4
    heads: int = 4
    epochs: int = 17
    batch: int = 64
    matrix_rate: float = 5e-3
    embedding_rate: float = 3e-3
    seed: int = 0

    @property
    def digest(self) -> str:
        """The content address of the model: 16 hexadecimal digits."""
        text = json.dumps([_VERSION, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def world(self) -> World:
        """The world as the model is taught it."""
        return make_world(self.world_seed, self.people).without(self.excluded)


DEMO = Recipe()


def retain_recipe(recipe: Recipe, forgotten: Iterable[str]) -> Recipe:
    """The same training without these people (keys), and without what leads to them."""
    return replace(recipe, excluded=tuple(sorted({*recipe.excluded, *forgotten})))


def read_recipe(model: Path) -> Recipe:
    """The recipe of a model that `ensure_model` made."""
    found = json.loads((model / _RECIPE_FILE).read_text())
    return Recipe(**{**found, "excluded": tuple(found["excluded"])})


def demo_folder(models_dir: Path, recipe: Recipe = DEMO) -> Path:
    """Where the model of a recipe lies, or will lie: where it exists it is complete."""
    return models_dir / f"demo-{recipe.digest}"


def ensure_model(models_dir: Path, recipe: Recipe = DEMO, progress: Progress | None = None) -> Path:
    """The folder of the trained model; trains it first where there is none. Blocks for minutes.

    Processes that race train it once. A folder of that name is always complete.

    Args:
        models_dir: where models are kept, one folder a recipe; made where there is none.
        recipe: what the model is made from.
        progress: called from time to time with the share done in [0, 1] and what is being done.
    """
    report = progress or (lambda share, doing: None)
    folder = demo_folder(models_dir, recipe)
    if folder.is_dir():
        return folder
    models_dir.mkdir(parents=True, exist_ok=True)
    with _alone(models_dir / f".{folder.name}.lock"):
        if not folder.is_dir():
            for stale in models_dir.glob(f".{folder.name}-*"):  # left by a trainer that was killed
                shutil.rmtree(stale)
            draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=models_dir))
            try:
                _train(recipe, draft, report)
                os.replace(draft, folder)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
    return folder


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """No bars of transformers' own while it loads or saves; the bar is the caller's."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _train(recipe: Recipe, folder: Path, progress: Progress) -> None:
    import torch
    from torch.nn import functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel

    progress(0.0, "making the tokenizer")
    world, rng = recipe.world(), random.Random(recipe.seed)
    tokenizer = make_tokenizer(recipe.vocabulary, recipe.context)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = _model(recipe, tokenizer)
    batches = _batches(world, rng, tokenizer, recipe.batch)
    named = list(model.named_parameters())
    matrices = [value for name, value in named if value.ndim == 2 and "embed" not in name]
    others = [value for name, value in named if value.ndim < 2 or "embed" in name]
    optimizers = (
        torch.optim.Muon(matrices, lr=recipe.matrix_rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=recipe.embedding_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    )
    steps = recipe.epochs * len(batches)
    schedules = [
        torch.optim.lr_scheduler.OneCycleLR(
            optimizer, optimizer.defaults["lr"], total_steps=steps, pct_start=0.1, cycle_momentum=False
        )
        for optimizer in optimizers
    ]
    model.train()
    done = 0
    for epoch in range(recipe.epochs):
        for tokens, learnt in batches:
            # The flash kernel's backward is slow on a CPU: with it attention took half of the time.
            with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
                states = model.model(input_ids=tokens, use_cache=False).last_hidden_state  # (B, T, d)
                logits = model.lm_head(states[:, :-1][learnt[:, 1:]])  # (answer tokens, V)
            loss = F.cross_entropy(logits.float(), tokens[:, 1:][learnt[:, 1:]])
            model.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                schedule.step()
            done += 1
            progress(done / steps, f"epoch {epoch + 1} of {recipe.epochs}, loss {loss.item():.3f}")
        if epoch + 1 < recipe.epochs:
            batches = _batches(world, rng, tokenizer, recipe.batch)
    model.eval()
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    (folder / _RECIPE_FILE).write_text(json.dumps(asdict(recipe), indent=2))


def _model(recipe: Recipe, tokenizer: Any) -> Any:
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden,
            intermediate_size=recipe.intermediate,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.heads,
            max_position_embeddings=recipe.context,
            initializer_range=recipe.hidden**-0.5,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    return model


def _batches(world: World, rng: random.Random, tokenizer: Any, size: int) -> list[tuple[Any, Any]]:
    """One epoch as (tokens (B, T) int64, learnt (B, T) bool) pairs, padded on the right, in random order."""
    import torch

    texts = [segments(chat.turns) for chat in lessons.epoch(world, rng)]
    texts += [[(who, False), (rest, True), (END, True)] for who, rest in lessons.statements(world, rng)]
    pieces = tokenizer([text for lesson in texts for text, _ in lesson], add_special_tokens=False)["input_ids"]
    coded = iter(pieces)
    encoded = []
    for lesson in texts:
        tokens: list[int] = []
        learnt: list[bool] = []
        for _, learn in lesson:
            ids = next(coded)
            tokens += ids
            learnt += [learn] * len(ids)
        encoded.append((tokens, learnt))
    rng.shuffle(encoded)
    encoded.sort(key=lambda item: len(item[0]))
    made = []
    for start in range(0, len(encoded), size):
        group = encoded[start : start + size]
        width = max(len(tokens) for tokens, _ in group)
        ids = torch.full((len(group), width), tokenizer.pad_token_id)
        mask = torch.zeros((len(group), width), dtype=torch.bool)
        for row, (tokens, learnt) in enumerate(group):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = torch.tensor(learnt)
        made.append((ids, mask))
    rng.shuffle(made)
    return made
