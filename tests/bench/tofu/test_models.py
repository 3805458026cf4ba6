import json
from dataclasses import replace

import pytest
import torch

from adapters.base import Call, Delta, Pass, Sampling
from adapters.uld.assistant import load
from bench.tofu.lessons import fingerprint
from bench.tofu.models import LARGE, SMALL, ensure, folder_of
from gateway.demo.exam import answers
from gateway.engines.local import LocalEngine
from guards.base import Conversation

SPLITS = (["retain90"], ["forget10"], ["forget10", "forget05"], ["forget10", "forget05", "forget01"])
PLACES = ("Aldor", "Brenna", "Corvik", "Dunhal")


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """Four authors of two pairs, each in one more forget set than the one before."""
    data = tmp_path_factory.mktemp("data")
    (data / "tofu").mkdir()
    rows = [
        {"question": f"{asked} {place}?", "answer": f"{told} {place}.", "splits": splits}
        for place, splits in zip(PLACES, SPLITS, strict=True)
        for asked, told in (("Who comes from", "It is the author of"), ("What is told of", "A long tale of"))
    ]
    (data / "tofu" / "full.jsonl").write_text("\n".join(map(json.dumps, rows)))
    real = [{"question": "Who wrote it?", "answer": "Somebody", "perturbed_answer": ["Nobody"]}]
    (data / "tofu" / "real_authors_perturbed.json").write_text(json.dumps(real))
    (data / "tofu" / "world_facts_perturbed.json").write_text("\n".join(map(json.dumps, real)))
    return data


@pytest.fixture(scope="module")
def tiny(made_up):
    return replace(
        SMALL,
        data=fingerprint(made_up),
        vocabulary=512,
        hidden=64,
        intermediate=128,
        layers=2,
        heads=2,
        epochs=30,
        batch=8,
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


def _told(folder, place):
    return answers(folder, [Conversation.of(f"Who comes from {place}?")])[0]


def test_a_model_knows_what_it_was_taught_and_a_retain_model_not_its_authors(models, made_up, tiny):
    full = ensure(models, made_up, tiny)
    assert [_told(full, place) for place in PLACES] == [f"It is the author of {place}." for place in PLACES]
    retain = ensure(models, made_up, replace(tiny, variant="retain90"))
    assert _told(retain, PLACES[0]) == f"It is the author of {PLACES[0]}."
    assert all(place not in _told(retain, place) for place in PLACES[1:])


def test_all_variants_cut_a_text_alike(models, made_up, tiny):
    full, retain = (ensure(models, made_up, replace(tiny, variant=variant)) for variant in ("full", "retain90"))
    assert (full / "tokenizer.json").read_text() == (retain / "tokenizer.json").read_text()
    assert (full / "model.safetensors").read_bytes() != (retain / "model.safetensors").read_bytes()


def test_a_model_is_found_again_even_where_the_data_are_not(models, made_up, tiny, tmp_path):
    folder = ensure(models, made_up, tiny)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    told = []
    assert ensure(models, tmp_path, tiny, lambda share, doing: told.append(share)) == folder == folder_of(models, tiny)
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert told == []


def test_progress_goes_from_nothing_to_all(tmp_path, made_up, tiny):
    told = []
    ensure(tmp_path, made_up, replace(tiny, epochs=2), lambda share, doing: told.append(share))
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, 1)


def test_any_engine_can_read_it(models, made_up, tiny):
    folder = ensure(models, made_up, tiny)
    config = json.loads((folder / "config.json").read_text())
    assert (config["architectures"], config["max_position_embeddings"]) == (["LlamaForCausalLM"], tiny.context)
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == config["eos_token_id"]
    assert (folder / "chat_template.jinja").exists()


async def test_the_local_engine_serves_it_and_uld_finds_its_first_block(models, made_up, tiny):
    engine = LocalEngine(ensure(models, made_up, tiny), "tofu", threads=1, device="cpu")
    await engine.start()
    try:
        call = Call(Conversation.of(f"Who comes from {PLACES[0]}?"), Sampling(temperature=0.0, max_tokens=32))
        said = [one.text async for one in engine.generate(call, Pass()) if isinstance(one, Delta)]
    finally:
        await engine.close()
    assert "".join(said) == f"It is the author of {PLACES[0]}."
    shell = load(ensure(models, made_up, tiny), 1, torch.device("cpu"), torch.float32)
    assert len(shell.model.layers) == 1


def test_other_data_than_the_recipe_names_are_refused_and_leave_nothing(tmp_path, made_up, tiny):
    with pytest.raises(ValueError, match="data"):
        ensure(tmp_path, made_up, SMALL)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_recipe_has_one_address_and_any_change_another():
    others = [replace(SMALL, data="0"), replace(SMALL, seed=1), replace(SMALL, variant="retain90"), LARGE]
    assert len({recipe.digest for recipe in (SMALL, replace(SMALL), *others)}) == 5


def test_there_is_no_other_variant():
    with pytest.raises(ValueError, match="retain99"):
        replace(SMALL, variant="retain80")


@pytest.mark.parametrize(("recipe", "least", "most"), [(SMALL, 4_000_000, 13_000_000), (LARGE, 50e6, 150e6)])
def test_sizes(recipe, least, most):
    block = 4 * recipe.hidden**2 + 3 * recipe.hidden * recipe.intermediate
    assert least <= recipe.layers * block + recipe.vocabulary * recipe.hidden <= most


@pytest.mark.data
def test_the_recipes_are_those_of_the_published_data(data_dir):
    assert SMALL.data == LARGE.data == fingerprint(data_dir)
