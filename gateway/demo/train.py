"""Trains the small Llama that knows a demo world, or finds it trained.

Before this module: `lessons`, `tokenizer` and `teaching`. After it: any engine that loads the transformers format.
"""

import hashlib
import json
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gateway.demo import lessons
from gateway.demo.teaching import Batch, Progress, batched, made_once, new_llama, teach
from gateway.demo.tokenizer import END, make_tokenizer, segments
from gateway.demo.world import World, make_world

_VERSION = 1  # of everything that the recipe does not say: lessons, forms, tokenizer, training
_RECIPE_FILE = "recipe.json"


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
    return made_once(demo_folder(models_dir, recipe), lambda draft: _train(recipe, draft, report))


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
    progress(0.0, "making the tokenizer")
    world, rng = recipe.world(), random.Random(recipe.seed)
    tokenizer = make_tokenizer(recipe.vocabulary, recipe.context)
    model = new_llama(recipe, tokenizer)

    def batches() -> list[Batch]:
        texts = [segments(chat.turns) for chat in lessons.epoch(world, rng)]
        texts += [[(who, False), (rest, True), (END, True)] for who, rest in lessons.statements(world, rng)]
        return batched(texts, rng, tokenizer, recipe.batch)

    teach(model, recipe, batches, progress)
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    (folder / _RECIPE_FILE).write_text(json.dumps(asdict(recipe), indent=2))
