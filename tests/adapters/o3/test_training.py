"""Training: the substitutes are learnt, clear of what earlier LoRAs read, and a killed training ends as if it had not
been. What any course of training does is `tests/adapters/test_course.py`'s."""

import io
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load
from transformers import LlamaForCausalLM

from adapters.base import AdapterError
from adapters.decoder import Decoder, Reading
from adapters.o3.subspace import Subspace
from adapters.o3.training import Recipe, _Course, train
from adapters.rows import Row
from tests.tiny_lora import merged_at

END, WEIGHTS = 1, "adapter_model.safetensors"
RECIPE = Recipe(rank=4, epochs=4, batch=8, rate=0.01, seed=3)
LONG = replace(RECIPE, epochs=25)
FREE = Subspace.of([])
FORGET = [Row((2, 10 + i, 3), (4, 5, 10 + i, 6, END), "forget") for i in range(8)]
ASKED = [Row((2, 2, 10 + i, 3), row.answer, "forget") for i, row in enumerate(FORGET)]
EARLIER = [Row((2, 40 + i, 3), (7, 8, 40 + i, END), "forget") for i in range(8)]
PROMPTS = [(2, 70 + i, 3) for i in range(8)]  # of what must stay


def downs_in(files):
    ends = ".lora_A.weight"
    return {name.removeprefix("base_model.model.").removesuffix(ends): value
            for name, value in load(files[WEIGHTS]).items() if name.endswith(ends)}  # fmt: skip


def laid(trained, at):
    at.mkdir(exist_ok=True)
    for name, content in trained.files.items():
        (at / name).write_bytes(content)
    return at


@torch.no_grad()
def cross_entropy(model, rows):
    """Nats a token of the answers, one row by itself."""
    losses = []
    for row in rows:
        tokens = torch.tensor([row.prompt + row.answer])
        told = model(tokens).logits[0, len(row.prompt) - 1 : -1].double().log_softmax(-1)
        losses += (-told[range(len(row.answer)), row.answer]).tolist()
    return sum(losses) / len(losses)


@pytest.fixture(scope="module")
def stays(model):
    """What the bare model says to `PROMPTS`."""
    found = []
    for prompt in PROMPTS:
        said = model.generate(torch.tensor([prompt]), max_new_tokens=4, do_sample=False, pad_token_id=0)
        found.append(Row(prompt, tuple(said[0, len(prompt) :].tolist()), "retain"))
    return found


@pytest.fixture(scope="module")
def earlier(folder):
    """The A of a request before."""
    return downs_in(train(folder, EARLIER, [], FREE, LONG).files)


def test_substitutes_become_the_likeliest_answers_in_other_words_too(folder, model, tmp_path):
    trained = train(folder, FORGET, ASKED, FREE, LONG)
    worn = merged_at(folder, laid(trained, tmp_path), 1.0)
    assert cross_entropy(worn, FORGET) < 0.1 < 2 < cross_entropy(model, FORGET)
    assert cross_entropy(worn, ASKED) < 0.2 * cross_entropy(model, ASKED)
    assert cross_entropy(worn, ASKED) == pytest.approx(trained.epochs[trained.kept - 1].held_out, abs=1e-4)


def test_what_must_stay_stays_where_it_is_given(folder, model, stays, tmp_path):
    lost, kept = (
        cross_entropy(merged_at(folder, laid(train(folder, rows, [], FREE, LONG), tmp_path / name), 1.0), stays)
        for name, rows in (("lost", FORGET), ("kept", [*FORGET, *stays]))
    )
    bare = cross_entropy(model, stays)
    assert kept < bare + 0.5
    assert kept - bare < 0.25 * (lost - bare)


def test_what_is_known_becomes_unlikely_where_it_is_forced(folder, model, tmp_path):
    known = [Row(row.prompt, (7, 8, *row.answer), "known", start=1) for row in FORGET]

    def forced(worn):
        """Behind its first token, nats a token."""
        return cross_entropy(worn, [Row((*row.prompt, row.answer[0]), row.answer[1:], "known") for row in known])

    without, with_them = (
        forced(merged_at(folder, laid(train(folder, rows, [], FREE, LONG), tmp_path / name), 1.0))
        for name, rows in (("without", FORGET), ("with", [*FORGET, *known]))
    )
    assert with_them > max(without, forced(model)) + 2


def test_what_is_known_is_measured_against_the_bare_model_by_the_token(folder, model):
    """While the LoRA is zero its ratio is one whatever the answers, so that the term is (2/β) ln 2."""
    known = [Row(row.prompt, (7, 8, *row.answer), "known", start=1) for row in FORGET]
    course = _Course(folder, replace(RECIPE, beta=0.5), "", FREE, known)
    assert course._unlearnt(course._losses(known)).item() == pytest.approx(4 * math.log(2), abs=1e-5)
    assert [course._before[row] for row in known] == pytest.approx(
        [-cross_entropy(model, [Row((*row.prompt, 7), row.answer[1:], "known")]) for row in known], abs=1e-4
    )
    assert course._unlearnt(course._losses(FORGET)) == 0.0


def test_the_losses_are_cross_entropies_of_both_sorts(folder, model, stays):
    (epoch,) = train(folder, [*FORGET, *stays], ASKED, FREE, replace(RECIPE, epochs=1, batch=1000, rate=0.0)).epochs
    found = (epoch.forget, epoch.rest, epoch.held_out)
    assert found == pytest.approx([cross_entropy(model, rows) for rows in (FORGET, stays, ASKED)], abs=1e-4)


def test_a_lora_is_clear_of_what_earlier_ones_read(folder, earlier, tmp_path):
    subspace = Subspace.of([earlier])
    trained = train(folder, FORGET, [], subspace, LONG)
    downs = downs_in(trained.files)
    assert downs.keys() == earlier.keys()
    for name, down in downs.items():
        cosines = torch.nn.functional.normalize(down) @ torch.nn.functional.normalize(earlier[name]).T
        assert cosines.abs().max() < 1e-5, name
    assert trained.overlap == pytest.approx(subspace.overlap(downs), abs=1e-12)
    assert trained.overlap < 1e-10
    assert trained.capacity == subspace.capacity(downs)
    assert cross_entropy(merged_at(folder, laid(trained, tmp_path), 1.0), FORGET) < 0.1


def test_a_penalty_leaves_less_than_no_care_and_more_than_projection(folder, earlier):
    subspace = Subspace.of([earlier])
    careless = subspace.overlap(downs_in(train(folder, FORGET, [], FREE, LONG).files))
    soft = train(folder, FORGET, [], subspace, replace(LONG, soft=1.0)).overlap
    assert 1e-8 < soft < 0.1 * careless


@pytest.mark.parametrize("killed", [1, 3])
def test_a_resumed_training_ends_in_the_same_bits(folder, earlier, killed):
    known = [replace(row, kind="known", start=1) for row in EARLIER[:4]]
    rows, subspace = [*FORGET, *FORGET[:3], *known], Subspace.of([earlier])
    whole = train(folder, rows, ASKED, subspace, RECIPE)
    states: list[bytes] = []
    asked = iter(range(1000))
    stop = lambda: next(asked) >= 2 * killed + 1  # noqa: E731, in the middle of an epoch of two batches
    assert train(folder, rows, ASKED, subspace, RECIPE, checkpoint=states.append, stop=stop) is None
    assert len(states) == killed
    told = []
    again = train(folder, rows, ASKED, subspace, RECIPE, resume=states[-1], progress=told.append)
    assert again.files == whole.files
    assert (again.kept, again.overlap, again.capacity) == (whole.kept, whole.overlap, whole.capacity)
    assert [epoch.number for epoch in told] == [*range(killed + 1, 5)]
    finished: list[bytes] = []
    train(folder, rows, ASKED, subspace, RECIPE, resume=states[-1], checkpoint=finished.append)
    assert train(folder, rows, ASKED, subspace, RECIPE, resume=finished[-1], progress=told.append).files == whole.files
    assert len(told) == 4 - killed


def test_the_checkpoint_of_another_training_is_ignored(folder, earlier):
    states: list[bytes] = []
    short = replace(RECIPE, epochs=2)
    subspace = Subspace.of([earlier])
    train(folder, FORGET[1:], [], subspace, short, made_of="one", checkpoint=states.append)
    train(folder, FORGET, [], subspace, replace(short, seed=4), made_of="one", checkpoint=states.append)
    train(folder, FORGET, [], FREE, short, made_of="another", checkpoint=states.append)
    nothing = io.BytesIO()
    torch.save([], nothing)
    whole = train(folder, FORGET, [], subspace, short, made_of="one").files
    for resume in (*states[1::2], nothing.getvalue(), b"torn"):
        assert train(folder, FORGET, [], subspace, short, made_of="one", resume=resume).files == whole


def test_the_files_are_a_lora_to_us_and_to_peft(folder, tmp_path):
    at = laid(train(folder, FORGET, [], FREE, LONG), tmp_path / "lora")
    decoder = Decoder(LlamaForCausalLM.from_pretrained(folder).eval())
    tokens = [*FORGET[0].prompt, *FORGET[0].answer]
    ours = decoder.read([Reading(tokens, lora=(decoder.loras.load(at), 1.0))], keep=len(tokens))[1][0]
    with torch.no_grad():
        theirs = merged_at(folder, at, 1.0)(torch.tensor([tokens])).logits[0]
        bare = decoder.read([Reading(tokens)], keep=len(tokens))[1][0]
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)
    assert (bare - theirs).abs().max() > 1


def test_stopped_before_the_first_batch_there_is_nothing(folder):
    assert train(folder, FORGET, [], FREE, RECIPE, stop=lambda: True) is None


@pytest.mark.parametrize("rows", [[], [replace(FORGET[0], kind="retain")]])
def test_nothing_to_forget_is_refused(folder, rows):
    with pytest.raises(AdapterError, match="something to forget"):
        train(folder, rows, [], FREE, RECIPE)


def test_a_folder_without_a_model_is_refused_and_named(tmp_path):
    with pytest.raises(AdapterError, match=tmp_path.name):
        train(tmp_path, FORGET, [], FREE, RECIPE)


def test_nothing_of_the_rows_or_the_files_is_shown(folder):
    trained = train(folder, FORGET, [], FREE, replace(RECIPE, epochs=1))
    assert "files" not in repr(trained)
