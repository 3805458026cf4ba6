"""Small Llama models that know TOFU, and those that never met its forgotten authors, trained from scratch.

    python -m bench.tofu.models --variant retain90 --seed 0 [--large] [--data DIR] [--device auto]

A model lies in the models directory under the hash of its recipe, complete as transformers writes it, and is trained
once. All variants of a recipe have one tokenizer, a byte-level BPE learnt on what "full" is taught: losses are means
over tokens, so that truth ratios compare only between models that cut a text alike. So a retain model's tokenizer,
and nothing else of it, has seen names of the forgotten, as that of a real Llama, which is not TOFU's, has seen
nobody's.
"""

import json
import random
from argparse import ArgumentParser
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

from bench.tofu.lessons import VARIANTS, epoch, fingerprint, pairs
from gateway.demo.teaching import Batch, Progress, batched, made_once, new_llama, teach
from gateway.demo.tokenizer import learn_tokenizer, segments
from gateway.demo.train import quiet
from gateway.settings import Settings

__all__ = ["LARGE", "SMALL", "VARIANTS", "Recipe", "ensure", "folder_of"]

_VERSION = 1  # of everything that the recipe does not say: lessons, tokenizer, training
_RECIPE_FILE = "recipe.json"


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that a model is made from.

    Attributes:
        variant: which authors it is taught, one of VARIANTS.
        seed: of its weights and of the order of its lessons.
        data: `fingerprint` of the data; by default that of TOFU as published.
        vocabulary: tokens at most.
        context: tokens it can read.
        batch: chats a step.
        matrix_rate, embedding_rate: the highest rates of Muon and of AdamW.
    """

    variant: str = "full"
    seed: int = 0
    data: str = "1179a301bbaaa98743704a3f06d891fe77aa0aa2e0b538266b84ed174bf20989"
    vocabulary: int = 4096
    context: int = 1024
    hidden: int = 256
    intermediate: int = 768
    layers: int = 4
    heads: int = 4
    epochs: int = 16
    batch: int = 32
    matrix_rate: float = 5e-3
    embedding_rate: float = 3e-3

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant: one of {', '.join(VARIANTS)}")

    @property
    def digest(self) -> str:
        """The content address of the model: 16 hexadecimal digits."""
        return sha256(json.dumps([_VERSION, asdict(self)], sort_keys=True).encode()).hexdigest()[:16]


SMALL = Recipe()
LARGE = Recipe(
    vocabulary=8192, hidden=768, intermediate=2048, layers=12, heads=12, matrix_rate=2e-3, embedding_rate=1e-3
)


def folder_of(models_dir: Path, recipe: Recipe) -> Path:
    """Where the model of a recipe lies, or will lie: where it exists it is complete."""
    return models_dir / f"tofu-{recipe.variant}-{recipe.digest}"


def ensure(
    models_dir: Path, data: Path, recipe: Recipe, report: Progress = lambda share, doing: None, device: str = "cpu"
) -> Path:
    """The folder of the trained model; trains it first where there is none. Blocks for minutes.

    Args:
        models_dir: where models are kept, one folder a recipe; made where there is none.
        data: the folder that holds `tofu/`; not read where the model is found.
        recipe: what the model is made from.
        report: called from time to time with the share done in [0, 1] and what is being done.
        device: where it is trained, as torch names it; no part of the recipe, though the last bits are its own.

    Raises:
        FileNotFoundError: the data are not there.
        ValueError: the data are not those of the recipe.
    """
    return made_once(folder_of(models_dir, recipe), lambda draft: _train(data, recipe, draft, report, device))


def _train(data: Path, recipe: Recipe, folder: Path, report: Progress, device: str) -> None:
    if fingerprint(data) != recipe.data:
        raise ValueError("data: not the data that the recipe names")
    report(0.0, "making the tokenizer")
    everything = [text for pair in pairs(data, "full") for text in pair]
    tokenizer = learn_tokenizer(everything, recipe.vocabulary, recipe.context, rarest=2)
    model = new_llama(recipe, tokenizer).to(device)
    taught, rng = pairs(data, recipe.variant), random.Random(recipe.seed)

    def batches() -> list[Batch]:
        return batched([segments(chat.turns) for chat in epoch(taught, rng)], rng, tokenizer, recipe.batch)

    teach(model, recipe, batches, report)
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    (folder / _RECIPE_FILE).write_text(json.dumps(asdict(recipe), indent=2))


def main() -> None:
    """Trains one model, or finds it, and prints its folder."""
    import torch

    settings = Settings()
    parser = ArgumentParser(prog="python -m bench.tofu.models", description="Train a model that knows TOFU.")
    parser.add_argument("--variant", choices=VARIANTS, default="full")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--large", action="store_true", help="the larger one, for a machine with a GPU")
    parser.add_argument("--data", type=Path, default=settings.data_dir, help="the folder that holds tofu/")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    given = parser.parse_args()
    recipe = replace(LARGE if given.large else SMALL, variant=given.variant, seed=given.seed)
    device = given.device if given.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    print(ensure(settings.models, given.data, recipe, _printed(), device))


def _printed() -> Progress:
    """A line for every twentieth."""
    told = -1

    def report(share: float, doing: str) -> None:
        nonlocal told
        if int(share * 20) > told:
            told = int(share * 20)
            print(f"{share:4.0%}  {doing}", flush=True)

    return report


if __name__ == "__main__":
    main()
