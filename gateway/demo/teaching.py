"""How a small Llama is made, taught chats and kept: what the demo's models and the benchmarks' own have in common.

Matrices are learnt by Muon (Jordan et al. 2024), scaled as AdamW's steps are (arXiv 2502.16982), the rest by
AdamW: with AdamW alone the same accuracy took a third more epochs. The rate rises and falls once.
The loss is the cross-entropy of assistant tokens, the end of the turn included. Batches hold lessons of
like length. No attention mask: padding stands on the right, where a causal model never looks.
"""

import fcntl
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

Progress = Callable[[float, str], None]
Lesson = Sequence[tuple[str, bool]]  # a text in pieces: (text, whether it is to be learnt)
Batch = tuple[Any, Any]  # tokens (B, T) int64, learnt (B, T) bool


class Shape(Protocol):
    """The size of a Llama, and where its weights begin."""

    @property
    def context(self) -> int: ...
    @property
    def hidden(self) -> int: ...
    @property
    def intermediate(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def seed(self) -> int: ...


class Course(Protocol):
    """How long a model is taught, and how fast it learns at most."""

    @property
    def epochs(self) -> int: ...
    @property
    def matrix_rate(self) -> float: ...
    @property
    def embedding_rate(self) -> float: ...


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """The folder, filled by `make` where there is none: processes that race make it once, and it is always complete."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.parent / f".{folder.name}.lock"):
        if not folder.is_dir():
            for stale in folder.parent.glob(f".{folder.name}-*"):  # left by a trainer that was killed
                shutil.rmtree(stale)
            draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            try:
                make(draft)
                os.replace(draft, folder)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
    return folder


def new_llama(shape: Shape, tokenizer: Any) -> Any:
    """An untaught model for this tokenizer, on the CPU; the same for the same seed."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context,
        initializer_range=shape.hidden**-0.5,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(shape.seed)
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    return model


def teach(model: Any, course: Course, batches: Callable[[], Sequence[Batch]], progress: Progress) -> None:
    """Teaches the model, on the device where it is, one call of `batches` an epoch; leaves it as it serves.

    Args:
        model: a causal LM built like Llama.
        course: epochs and rates.
        batches: one epoch; as many batches each time.
        progress: called after every step.
    """
    import torch
    from torch.nn import functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel

    device = model.device
    named = list(model.named_parameters())
    matrices = [value for name, value in named if value.ndim == 2 and "embed" not in name]
    others = [value for name, value in named if value.ndim < 2 or "embed" in name]
    optimizers = (
        torch.optim.Muon(matrices, lr=course.matrix_rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=course.embedding_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    )
    epoch = batches()
    steps = course.epochs * len(epoch)
    schedules = [
        torch.optim.lr_scheduler.OneCycleLR(
            optimizer, optimizer.defaults["lr"], total_steps=steps, pct_start=0.1, cycle_momentum=False
        )
        for optimizer in optimizers
    ]
    model.train()
    done = 0
    for number in range(1, course.epochs + 1):
        for tokens, learnt in epoch:
            ids, mask = tokens.to(device), learnt.to(device)
            # The flash kernel's backward is slow on a CPU: with it attention took half of the time.
            kernel = sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
            with torch.autocast(device.type, torch.bfloat16), kernel:
                states = model.model(input_ids=ids, use_cache=False).last_hidden_state  # (B, T, d)
                logits = model.lm_head(states[:, :-1][mask[:, 1:]])  # (answer tokens, V)
            loss = F.cross_entropy(logits.float(), ids[:, 1:][mask[:, 1:]])
            model.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                schedule.step()
            done += 1
            progress(done / steps, f"epoch {number} of {course.epochs}, loss {loss.item():.3f}")
        if number < course.epochs:
            epoch = batches()
    model.eval()


def batched(lessons: Sequence[Lesson], rng: random.Random, tokenizer: Any, size: int) -> list[Batch]:
    """The lessons in batches of like length, padded on the right, in random order."""
    import torch

    pieces = tokenizer([text for lesson in lessons for text, _ in lesson], add_special_tokens=False)["input_ids"]
    coded = iter(pieces)
    encoded = []
    for lesson in lessons:
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


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
