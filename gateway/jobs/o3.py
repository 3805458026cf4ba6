"""Learning O3: a LoRA with which the model does not know one target, clear of the LoRAs of earlier requests.

Asked of the model, trained, then verified: each part can be resumed by another worker, since what was asked and
how far training came is kept as a checkpoint of the request. A LoRA that verification has not passed is scaled
up; its directions stay, and with them what they are orthogonal to.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from pydantic import TypeAdapter

from adapters.base import Adapted, AdapterError, Artifact, Scaled
from adapters.o3.adapter import DETECTOR, O3
from adapters.prompt import Prompter
from adapters.rows import Row, rows_of
from gateway.core import Core
from gateway.jobs.checkpoint import Checkpoint
from gateway.jobs.probes import Probe, names_in, paired, probes_about, some
from gateway.jobs.substitutes import Substitutes, substitutes
from gateway.jobs.training import contents, lacking, trained
from gateway.jobs.unknown import yardstick
from gateway.registry import ForgetRequest, RegistryError
from guards.base import GuardError
from guards.encoder import Floats
from guards.ood import LIMIT, Detector, fit

if TYPE_CHECKING:
    from adapters.o3.subspace import Subspace
    from adapters.o3.training import Trained

CHECKPOINT = "o3-checkpoint"  # the method under which a request's artifacts list it

_PUSH = 1.5  # times the scale
_LEAK = 0.2  # of what the bare model tells: a LoRA that tells more is no method, whatever guard comes after it
_TRIED = 24  # questions that a LoRA is tried with
_COMPARED = 32  # of the earlier LoRAs, the nearest: what the manifest says of each
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_LESSONS = TypeAdapter(Substitutes)


async def learn_o3(core: Core, request: ForgetRequest, push: int = 0) -> Artifact:
    """A LoRA and the detector that weighs it; pushed, the last one's files at a greater scale.

    Raises:
        AdapterError: the engine adds no LoRAs, this installation cannot train, or there is nothing to ask about.
    """
    o3 = core.adapters.get("o3")
    if not isinstance(o3, O3) or not o3.needs <= core.engine.capabilities:
        raise AdapterError("method o3 needs an engine that adds LoRAs")
    if push and (digest := request.artifacts.get("o3")):
        return await _pushed(core, await core.artifacts.get(digest))
    if missing := lacking():
        raise AdapterError(f"method o3 cannot be learned here: {missing}")
    kept = Checkpoint(core, request.id, CHECKPOINT)
    try:
        (artifact,) = await learn_together(core, o3, [request], kept)
    except AdapterError:  # trying again would end the same
        await kept.drop()
        raise
    await kept.drop()
    return artifact


async def learn_together(
    core: Core, o3: O3, requests: Sequence[ForgetRequest], kept: Checkpoint
) -> tuple[Artifact, ...]:
    """One LoRA for these requests, and an artifact for each with a detector of its own.

    Raises:
        AdapterError: there is nothing to ask about, or too little for a detector, or the LoRA changes too little.
    """
    lead = requests[-1]
    lessons = await _lessons(core, requests, kept)
    detectors = [(await _detector(core, texts)).to_bytes() for texts in lessons.texts]
    own = await _features(core, [text for texts in lessons.texts for text in texts])
    earlier = await _earlier(core, o3, {request.id for request in requests}, own)
    subspace = await asyncio.to_thread(_subspace, [*earlier.values()])
    held = [*earlier][: subspace.held]
    made = await _trained(core, o3, lead, lessons, subspace, held, kept)
    overlaps = await asyncio.to_thread(_overlaps, made.files, [*earlier.values()][:_COMPARED])
    manifest = {
        "model": o3.model,
        "lora": _name(made.files),
        "rank": made.recipe.rank,
        "recipe": asdict(made.recipe),
        "epochs": [asdict(epoch) for epoch in made.epochs],
        "kept": made.kept,
        "seconds": made.seconds,
        "questions": {"learned": len(lessons.pairs), "held_out": len(lessons.held_out), "kept": len(lessons.kept)},
        "unlearned": len(lessons.known),
        "earlier": held,
        "left_out": len(earlier) - subspace.held,
        "overlap": made.overlap,
        "overlaps": overlaps,
        "capacity": made.capacity,
        "shared_with": [request.id for request in requests],
    }
    draft = await core.artifacts.put("o3", lead.id, manifest, made.files)
    try:
        leak = await _leak(core, draft, _tried(requests, lessons))
    finally:
        await core.artifacts.drop(draft.digest)
    if leak is not None and leak > _LEAK:
        raise AdapterError("this LoRA does not make the model forget")
    manifest["leak"] = leak
    return tuple(
        [
            await core.artifacts.put("o3", request.id, manifest, {**made.files, DETECTOR: detector})
            for request, detector in zip(requests, detectors, strict=True)
        ]
    )


async def adopted(core: Core, request: ForgetRequest, own: Artifact, other: Artifact) -> Artifact:
    """Another request's LoRA with this one's own detector; nothing is trained.

    Raises:
        AdapterError: with that LoRA the model does not forget this target.
    """
    leak = await _leak(core, other, probes_about(request.spec).development)
    if leak is not None and leak > _LEAK:
        raise AdapterError("the other's LoRA does not make the model forget this target")
    files, ours = await asyncio.to_thread(contents, other), await asyncio.to_thread(contents, own)
    shared = dict.fromkeys([*other.manifest["shared_with"], request.id])
    manifest = {**other.manifest, "leak": leak, "shared_with": [*shared]}
    return await core.artifacts.put("o3", request.id, manifest, {**files, DETECTOR: ours[DETECTOR]})


async def _lessons(core: Core, requests: Sequence[ForgetRequest], kept: Checkpoint) -> Substitutes:
    """As they were asked for before a worker died, or asked for now."""
    if stored := await kept.lessons(_LESSONS):
        return stored
    lessons = await substitutes(core, [request.spec for request in requests])
    if not lessons.pairs:
        raise AdapterError("there is nothing to ask about this target")
    await kept.replace({"lessons": _LESSONS.dump_json(lessons)})
    counts = {"questions": len(lessons.pairs), "retained": len(lessons.kept)}
    await core.registry.note(requests[-1].id, "progress", {"method": "o3", **counts})
    return lessons


async def _features(core: Core, texts: Sequence[str]) -> Floats:
    """(n, 1, d) of the texts that a detector keeps, evenly of all."""
    return (await core.encoder.encode(some(texts, LIMIT), bulk=True))[:, None]


async def _detector(core: Core, texts: Sequence[str]) -> Detector:
    """Fitted on forget texts alone; ordinary prompts only place its zero.

    Texts like these about others, which would move that up, are left out: whom a prompt is about, the guards have
    said before a detector is asked, and on the demo world a zero that keeps strangers out misses 44 % of own
    prompts, not 9 %.
    """
    ordinary = core.background.vectors[:, None]
    try:
        return await asyncio.to_thread(fit, await _features(core, texts), ordinary, core.encoder.identity)
    except GuardError as error:
        raise AdapterError(f"no detector can be fitted: {error}") from None


async def _earlier(core: Core, o3: O3, but: set[str], own: Floats) -> dict[str, Artifact]:
    """The artifacts of other requests' LoRAs in force, by digest, the nearest first: each LoRA once.

    What no prompt can wear is nothing to stay clear of: of another model or encoder, or damaged.
    """
    found: dict[str, tuple[float, Artifact]] = {}
    mean = own[:, 0].mean(axis=0)
    for request in await core.registry.active():
        digest = request.artifacts.get("o3")
        if request.id in but or digest is None:
            continue
        try:
            artifact = await core.artifacts.get(digest)
            assert artifact.folder
            raw = await asyncio.to_thread((artifact.folder / DETECTOR).read_bytes)
            cloud = Detector.from_bytes(raw, core.encoder.identity).clouds[0]
        except (RegistryError, GuardError):
            continue
        if artifact.manifest["model"] != o3.model:
            continue
        near, lora = float(cloud.rows.astype(np.float32).mean(0) @ mean), str(artifact.manifest["lora"])
        if lora not in found or near > found[lora][0]:
            found[lora] = (near, artifact)
    ordered = sorted(found.values(), key=lambda one: (-one[0], one[1].digest))
    return {artifact.digest: artifact for _, artifact in ordered}


def _subspace(earlier: Sequence[Artifact]) -> "Subspace":
    from adapters.o3.subspace import Subspace

    return Subspace.of(_downs((one.folder / _WEIGHTS).read_bytes()) for one in earlier if one.folder)


def _overlaps(files: Mapping[str, bytes], earlier: Sequence[Artifact]) -> dict[str, float]:
    """With each of these requests: the share of the LoRA's A that lies in what the other reads."""
    from adapters.o3.subspace import Subspace

    downs = _downs(files[_WEIGHTS])
    return {
        one.request: Subspace.of([_downs((one.folder / _WEIGHTS).read_bytes())], free=0.0).overlap(downs)
        for one in earlier
        if one.folder
    }


def _downs(weights: bytes) -> dict[str, Any]:
    """A (r, in) of each module."""
    from safetensors.torch import load

    ends = ".lora_A.weight"
    return {
        name.removeprefix("base_model.model.").removesuffix(ends): value
        for name, value in load(weights).items()
        if name.endswith(ends)
    }


async def _trained(
    core: Core,
    o3: O3,
    request: ForgetRequest,
    lessons: Substitutes,
    earlier: "Subspace",
    held: Sequence[str],
    kept: Checkpoint,
) -> "Trained":
    from adapters.o3.training import Recipe, train

    rows, held_out = await asyncio.to_thread(_rows, o3, lessons)
    made_of = sha256(" ".join(held).encode()).hexdigest()
    course = partial(train, o3.folder, rows, held_out, earlier, Recipe(), made_of=made_of)
    return await trained(core, request.id, "o3", kept, {"lessons": _LESSONS.dump_json(lessons)}, course)


def _rows(o3: O3, lessons: Substitutes) -> tuple[Sequence[Row], Sequence[Row]]:
    """What is trained on, and what decides which epoch is kept."""
    prompter = Prompter(o3.folder)
    told = rows_of(prompter, lessons.known)
    known = [replace(row, kind="known", start=1) for row in told if len(row.answer) > 2]  # a token, another, the end
    return (*rows_of(prompter, lessons.pairs, lessons.kept), *known), rows_of(prompter, lessons.held_out)


def _tried(requests: Sequence[ForgetRequest], lessons: Substitutes) -> tuple[Probe, ...]:
    """Questions to try a LoRA with: in words in which it has not learned them."""
    names = [name for request in requests for name in names_in(request.spec)]
    asked = [pair.question for pair in lessons.held_out]
    return paired(some(asked, _TRIED), names)


async def _leak(core: Core, draft: Artifact, probes: Sequence[Probe]) -> float | None:
    """How much of what the bare model tells to these is told under the LoRA, with no guard between; in [0, 1].

    None where there is nothing to ask.

    Raises:
        AdapterError: nothing is said at all.
    """
    assert draft.folder
    if not probes:
        return None
    compared = await yardstick(core, probes)
    plan = Adapted((Scaled(draft.folder, 1.0),))
    said = await asyncio.gather(*(core.ask(probe.question, plan) for probe in probes))
    if not any(said):  # which no guard would tell from one that forgets
        raise AdapterError("under this LoRA the model says nothing at all")
    return compared.loss(said)[1]


def _name(files: Mapping[str, bytes]) -> str:
    """What the LoRA's content gives."""
    return sha256(files[_CONFIG] + files[_WEIGHTS]).hexdigest()


async def _pushed(core: Core, last: Artifact) -> Artifact:
    files = await asyncio.to_thread(contents, last)
    config = orjson.loads(files[_CONFIG])
    files[_CONFIG] = orjson.dumps(config | {"lora_alpha": config["lora_alpha"] * _PUSH})
    manifest = {**last.manifest, "lora": _name(files), "pushed": last.manifest.get("pushed", 0) + 1}
    return await core.artifacts.put("o3", last.request, manifest, files)
