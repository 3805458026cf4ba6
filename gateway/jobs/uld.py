"""Learning ULD: an assistant that remembers what one forget request is about, and how strongly to subtract it.

Asked of the model, trained, then tried: each part can be resumed by another worker, since what was asked and
how far training came is kept as a checkpoint of the request. A strength that verification has not passed is
pushed; the assistant stays.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

import orjson
from pydantic import TypeAdapter

from adapters.base import (
    AdapterError,
    Artifact,
    Assisted,
    Call,
    Capability,
    EngineRejected,
    Sampling,
    Steered,
    Strength,
)
from adapters.rows import Pair, Row, rows_of
from adapters.uld.adapter import Uld
from adapters.uld.search import Trial, deepened, pushed, search, strength_of
from gateway.core import Core
from gateway.jobs.checkpoint import Checkpoint
from gateway.jobs.curriculum import Curriculum, curriculum
from gateway.jobs.few import few
from gateway.jobs.probes import some
from gateway.jobs.training import contents, lacking, trained
from gateway.jobs.unknown import yardstick
from gateway.registry import ForgetRequest
from guards.base import Conversation

if TYPE_CHECKING:
    from adapters.uld.training import Recipe, Trained

CHECKPOINT = "uld-checkpoint"  # the method under which a request's artifacts list it

_TRIED = 24  # questions that a strength is tried with
_BULK, _TAIL, _MARGIN = 0.9, 0.999, 1.0  # quantiles of how high an assistant rises where it knows nothing, and nats
_LEAK = 0.2  # of the search's loss: what still tells so much is no method, whatever guard comes after it
_GUESSES = 2  # of what is said of others, to compare the truth with
_UNTRIED = 4.0  # α where there is nothing to ask, and while the depth is looked for
_SCORED = Sampling(temperature=0.0, logprobs=0)
_CURRICULUM = TypeAdapter(Curriculum)


async def learn_uld(core: Core, request: ForgetRequest, push: int = 0) -> Artifact:
    """An assistant and its strength; pushed, the last one's files with a greater strength.

    Raises:
        AdapterError: the engine steers no logits, this installation cannot train, or there is nothing to forget.
    """
    uld = core.adapters.get("uld")
    if not isinstance(uld, Uld) or not uld.needs <= core.engine.capabilities:
        raise AdapterError("method uld needs an engine whose logits can be steered")
    if push and (digest := request.artifacts.get("uld")):
        return await _pushed(core, await core.artifacts.get(digest))
    if missing := lacking():
        raise AdapterError(f"method uld cannot be learned here: {missing}")
    kept = Checkpoint(core, request.id, CHECKPOINT)
    try:
        artifact = await _learned(core, uld, request, kept)
    except AdapterError:  # trying again would end the same
        await kept.drop()
        raise
    await kept.drop()
    return artifact


async def _learned(core: Core, uld: Uld, request: ForgetRequest, kept: Checkpoint) -> Artifact:
    from adapters.uld.assistant import Manifest

    recipe = await asyncio.to_thread(_recipe, uld, core.settings.jobs.uld_blocks)
    lessons = await _lessons(core, request, kept)
    made = await _trained(core, uld, request, lessons, recipe, kept)
    files = {**made.files, "uld.json": orjson.dumps(asdict(Manifest(recipe.blocks, uld.model)))}
    manifest = {
        "model": uld.model,
        "recipe": asdict(recipe),
        "epochs": [asdict(epoch) for epoch in made.epochs],
        "kept": made.kept,
        "flat": {str(share): height for share, height in made.quantiles.items()},
        "questions": {"learned": len(lessons.pairs), "held_out": len(lessons.held_out), "kept": len(lessons.kept)},
    }
    draft = await core.artifacts.put("uld", request.id, manifest, files)
    try:
        strength, trials = await _strength(core, draft, lessons, _flat(made))
    finally:
        await core.artifacts.drop(draft.digest)
    found = {"strength": asdict(strength), "trials": [asdict(trial) for trial in trials]}
    return await core.artifacts.put("uld", request.id, {**manifest, **found}, files)


async def _lessons(core: Core, request: ForgetRequest, kept: Checkpoint) -> Curriculum:
    """As they were asked for before a worker died, or asked for now."""
    if stored := await kept.lessons(_CURRICULUM):
        return stored
    lessons = await curriculum(core, request.spec)
    if not lessons.pairs:
        raise AdapterError("the model says nothing of this target that could be forgotten")
    await kept.replace({"lessons": _CURRICULUM.dump_json(lessons)})
    counts = {"questions": len(lessons.pairs), "retained": len(lessons.kept)}
    await core.registry.note(request.id, "progress", {"method": "uld", **counts})
    return lessons


def _recipe(uld: Uld, blocks: int | None) -> "Recipe":
    """With so many blocks of the model.

    Raises:
        AdapterError: it has not as many.
    """
    from transformers import AutoConfig

    from adapters.uld.assistant import default_blocks
    from adapters.uld.training import Recipe

    config = AutoConfig.from_pretrained(uld.folder, local_files_only=True)
    if blocks and blocks > config.num_hidden_layers:
        raise AdapterError(f"jobs.uld_blocks is {blocks}, and this model has {config.num_hidden_layers} blocks")
    return Recipe(blocks or default_blocks(config))


def _rows(uld: Uld, lessons: Curriculum) -> tuple[Sequence[Row], Sequence[Row]]:
    """What is trained on, and what decides when that ends."""
    return rows_of(uld.prompter, lessons.pairs, lessons.kept), rows_of(uld.prompter, lessons.held_out)


async def _trained(
    core: Core, uld: Uld, request: ForgetRequest, lessons: Curriculum, recipe: "Recipe", kept: Checkpoint
) -> "Trained":
    from adapters.uld.training import train

    rows, held_out = await asyncio.to_thread(_rows, uld, lessons)
    course = partial(train, uld.folder, rows, held_out, recipe)
    return await trained(core, request.id, "uld", kept, {"lessons": _CURRICULUM.dump_json(lessons)}, course)


def _flat(made: "Trained") -> float:
    """Where an assistant counts as knowing nothing: a margin above the bulk of what it says of what it should not know.

    The tail is where it errs, as about namesakes: a bound above that would take it for ignorant where it knows.
    """
    return min(made.quantiles[_BULK] + _MARGIN, made.quantiles[_TAIL])


async def _strength(
    core: Core, draft: Artifact, lessons: Curriculum, height: float
) -> tuple[Strength, tuple[Trial, ...]]:
    """How strongly the draft's assistant has to be subtracted, and what was tried.

    Raises:
        AdapterError: it makes the model forget at no strength, or the engine ends what it should steer.
    """
    assert draft.folder
    folder = draft.folder
    guesses = some([guess for pair in lessons.pairs if (guess := _guess(core, pair))], _TRIED)

    def plan(strength: Strength) -> Steered:
        return Steered((Assisted(folder, strength),))

    async def preferred(strength: Strength) -> float:
        found = await few(lambda guess: _preferred(core, guess, plan(strength)), guesses)
        found = [one for one in found if math.isfinite(one)]
        return fmean(found) if found else math.nan

    strength = strength_of(_UNTRIED, height)
    if guesses and Capability.SCORE in core.engine.capabilities:
        strength = await deepened(preferred, strength)
    tried = some(lessons.probes, _TRIED)
    if not tried:
        return strength, ()
    compared = await yardstick(core, tried)

    async def ask(strength: Strength) -> list[str]:
        said = await asyncio.gather(*(core.ask(probe.question, plan(strength)) for probe in tried))
        if not any(said):  # which no guard would tell from one that forgets
            raise AdapterError("the engine ends what it should steer")
        return said

    best, trials = await search(ask, compared, strength)
    if best.leak > _LEAK:
        raise AdapterError("no strength of this assistant makes the model forget")
    return best.strength, trials


def _guess(core: Core, pair: Pair) -> Pair | None:
    """The pair with what is said of others as its wrong answers; None where there is nothing to compare."""
    voice = core.ignorance.voice
    wrong = [text for text in pair.wrong if text not in pair.right and not voice.speaks(text)]
    return replace(pair, wrong=tuple(wrong[:_GUESSES])) if wrong else None


async def _preferred(core: Core, pair: Pair, plan: Steered) -> float:
    """By how much a token of the right answer is likelier than one of the wrong ones, in nats.

    NaN where the engine refuses one.
    """
    call = Call(Conversation.of(pair.question), _SCORED)

    async def likely(answer: str) -> float:
        _, *tokens = await core.engine.score(call, answer, plan)  # the first falls by a depth of its own
        return fmean(token.logprob for token in tokens)

    try:
        return await likely(pair.right[0]) - fmean([await likely(answer) for answer in pair.wrong])
    except EngineRejected:  # it is too long
        return math.nan


async def _pushed(core: Core, last: Artifact) -> Artifact:
    files = await asyncio.to_thread(contents, last)
    strength = pushed(Strength(**last.manifest["strength"]))
    manifest = {**last.manifest, "strength": asdict(strength), "pushed": last.manifest.get("pushed", 0) + 1}
    return await core.artifacts.put("uld", last.request, manifest, files)
