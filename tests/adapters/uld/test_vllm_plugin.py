"""The plugin under both runners, played by the interfaces' own rules; the real ones are asked in tests/vllm."""

import ast
import enum
import importlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from adapters.base import Strength
from adapters.decoder import Reading
from adapters.uld import wire
from adapters.uld.logits import combined
from bench.serving import VllmError, vllm_python
from tests.adapters.uld.laid import lay

BLOCKS, END, V = 1, 1, 60
NAMES = ("1" * 32, "2" * 32)
GONE = "9" * 32
STRENGTH = Strength(0.8, 1.5, 0.05)
V1 = "vllm.v1.sample.logits_processor.interface"
V2 = "vllm.v1.worker.gpu.sample.logits_processor.interface"


class Directions(enum.Enum):
    UNIDIRECTIONAL = enum.auto()
    SWAP = enum.auto()


@pytest.fixture(scope="module")
def plugin():
    """The module, where a vLLM seems to be."""
    with pytest.MonkeyPatch.context() as patch:
        for path in (V1, V2):
            parts = path.split(".")
            for end in range(1, len(parts) + 1):
                patch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(".".join(parts[:end])))
        sys.modules[V1].LogitsProcessor = type("LogitsProcessor", (), {})
        sys.modules[V2].LogitsProcessor = type("LogitsProcessor", (), {})
        patch.delitem(sys.modules, "adapters.uld.vllm_plugin", raising=False)
        yield importlib.import_module("adapters.uld.vllm_plugin")
        del sys.modules["adapters.uld.vllm_plugin"]


@pytest.fixture(scope="module")
def root(tmp_path_factory, made):
    folder = tmp_path_factory.mktemp("assistants")
    for seed, name in enumerate(NAMES):
        lay(folder / name, made("llama"), BLOCKS, seed=seed)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory, made):
    folder = tmp_path_factory.mktemp("model")
    made("llama").save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [END, 2]}))
    return folder


@pytest.fixture
def config(model):
    """What vLLM would say of itself."""
    return SimpleNamespace(
        model_config=SimpleNamespace(
            model=str(model),
            dtype=torch.float32,
            logprobs_mode="processed_logprobs",
            logits_processors=["adapters.uld.vllm_plugin:Uld"],
            hf_text_config=SimpleNamespace(num_hidden_layers=4),
        ),
        parallel_config=SimpleNamespace(pipeline_parallel_size=1),
        speculative_config=None,
    )


@pytest.fixture
def env(monkeypatch, root):
    monkeypatch.setenv("LETHE_ULD_ADAPTERS", str(root))
    monkeypatch.delenv("LETHE_ULD_BLOCKS", raising=False)
    return monkeypatch


def params(*names, text=None, **more):
    asked = {wire.KEY: text or wire.dumps(wire.Asked(tuple(wire.Named(name, STRENGTH) for name in names)))[wire.KEY]}
    return SimpleNamespace(extra_args=asked if names or text else None, prompt_logprobs=None, **more)


def is_end(row):
    return row[END] == 0 and int(row.isfinite().sum()) == 1


# --- when it does not start


@pytest.mark.parametrize(
    ("section", "name", "value", "says"),
    [
        ("model_config", "logprobs_mode", "raw_logprobs", "processed_logprobs"),
        ("model_config", "logprobs_mode", "raw_logits", "processed_logprobs"),
        ("model_config", "logits_processors", None, "--logits-processors"),
        ("model_config", "model", "some/model", "folder"),
        ("parallel_config", "pipeline_parallel_size", 2, "pipeline"),
        (None, "speculative_config", object(), "speculative"),
    ],
)
def test_it_does_not_start_where_it_would_fail_open(plugin, env, config, section, name, value, says):
    setattr(getattr(config, section) if section else config, name, value)
    with pytest.raises(ValueError, match=says):
        plugin.Uld(config, torch.device("cpu"), False)


@pytest.mark.parametrize("value", [None, "", "/nowhere"])
def test_it_does_not_start_without_the_folder(plugin, env, config, value):
    env.delenv("LETHE_ULD_ADAPTERS") if value is None else env.setenv("LETHE_ULD_ADAPTERS", value)
    with pytest.raises(ValueError, match="LETHE_ULD_ADAPTERS"):
        plugin.Uld(config, torch.device("cpu"), False)


def test_it_does_not_start_before_a_model_without_an_end(plugin, env, config, model, tmp_path):
    for path in model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "generation_config.json").unlink()
    told = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(told | {"eos_token_id": None}))
    config.model_config.model = str(tmp_path)
    with pytest.raises(ValueError, match="ends an answer"):
        plugin.Uld(config, torch.device("cpu"), False)


def test_the_size_of_assistants_is_a_quarter_or_what_the_environment_says(plugin, env, config):
    assert plugin.Uld(config, torch.device("cpu"), False)._steering._blocks == 1
    env.setenv("LETHE_ULD_BLOCKS", "3")
    assert plugin.Uld(config, torch.device("cpu"), False)._steering._blocks == 3


def test_a_request_that_cannot_be_meant_is_refused_before_it_runs(plugin):
    plugin.Uld.validate_params(params())
    plugin.Uld.validate_params(params(*NAMES))
    with pytest.raises(ValueError, match=wire.KEY):
        plugin.Uld.validate_params(params(text="[]"))
    asked = params(*NAMES)
    asked.prompt_logprobs = 1
    with pytest.raises(ValueError, match="prompt"):
        plugin.Uld.validate_params(asked)


def test_what_nobody_asks_to_steer_is_not_looked_at(plugin, env, config):
    uld = plugin.Uld(config, torch.device("cpu"), False)
    uld.update_state(SimpleNamespace(removed=[], added=[(0, params(), [3], [])], moved=[]))
    uld._steering = None  # whatever asked it would fail
    logits = torch.randn(1, V)
    assert uld.apply(logits) is logits
    assert uld.is_argmax_invariant() is False


# --- V1: a batch whose rows come, go and move


@dataclass
class Asked:
    """A request as the runner holds it. `kind` says what its assistants are."""

    names: tuple[str, ...]
    prompt: list[int] | None
    output: list[int] = field(default_factory=list)

    @property
    def flagged(self):
        return bool(self.names)

    @property
    def servable(self):
        return GONE not in self.names and bool(self.prompt) and -1 not in self.output


class Batch(RuleBasedStateMachine):
    """V1's persistent batch: what vLLM may do to it between two steps, in any order that it may."""

    make = None  # () -> Uld

    @initialize()
    def start(self):
        self.uld = self.make()
        self.rows: list[Asked] = []
        self.waiting: list[Asked] = []
        self.update = SimpleNamespace(removed=[], added=[], moved=[])
        self.generator = torch.Generator().manual_seed(0)

    @rule(
        names=st.sampled_from([(), (), NAMES[:1], NAMES[1:], NAMES, (GONE,), (NAMES[0], GONE)]),
        prompt=st.none() | st.lists(st.integers(2, V - 1), min_size=1, max_size=6),
    )
    def comes(self, names, prompt):
        self._add(Asked(names, prompt))

    @precondition(lambda self: self.waiting)
    @rule(same=st.booleans())
    def returns(self, same):
        asked = self.waiting.pop()
        self._add(asked if same else Asked(asked.names, asked.prompt, list(asked.output)))

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), preempted=st.booleans())
    def leaves(self, data, preempted):
        """The last row takes the place of the one that goes, as `condense` has it."""
        index = data.draw(st.integers(0, len(self.rows) - 1))
        gone, last = self.rows[index], len(self.rows) - 1
        self._flush()
        self.update.removed.append(index)
        if index != last:
            self.rows[index] = self.rows[last]
            self.update.moved.append((last, index, Directions.UNIDIRECTIONAL))
        self.rows.pop()
        self._flush()
        if preempted:
            self.waiting.append(gone)

    @precondition(lambda self: len(self.rows) > 1)
    @rule(data=st.data())
    def swap(self, data):
        one, other = data.draw(st.permutations(range(len(self.rows))))[:2]
        self.rows[one], self.rows[other] = self.rows[other], self.rows[one]
        self.update.moved.append((one, other, Directions.SWAP))

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def replaced(self, data):
        """One goes and another comes into its row in the same step."""
        index = data.draw(st.integers(0, len(self.rows) - 1))
        self._flush()
        asked = Asked(data.draw(st.sampled_from([(), NAMES])), [3, 4])
        self.rows[index] = asked
        self.update.added.append((index, params(*asked.names), asked.prompt, asked.output))
        self._flush()

    @precondition(lambda self: self.rows)
    @rule(drawn=st.booleans(), late=st.booleans())
    def step(self, drawn, late):
        """`late`: the last tokens are not known yet. Not `drawn`: the server only reads on."""
        self._flush()
        for row in self.rows:
            if late and row.output:
                row.output[-1] = -1
        before = torch.randn(len(self.rows), V, generator=self.generator) * 4
        after = before.clone()
        with torch.inference_mode():
            assert self.uld.apply(after) is after
        for i, row in enumerate(self.rows):
            if not row.flagged:
                assert torch.equal(after[i], before[i])
            elif row.servable:
                assert torch.allclose(after[i], self._expected(before[i], row), atol=1e-3)
            else:
                assert is_end(after[i])
            row.output[:] = [5 if token == -1 else token for token in row.output]
            if drawn and len(row.output) < 8:
                row.output.append(int(after[i].argmax()))

    @invariant()
    def nothing_is_held_but_flagged_rows(self):
        if hasattr(self, "rows"):
            self._flush()
            assert set(self.uld._held) == {i for i, row in enumerate(self.rows) if row.flagged}

    def _add(self, asked):
        if len(self.rows) < 5:
            self._flush()
            self.rows.append(asked)
            self.update.added.append((len(self.rows) - 1, params(*asked.names), asked.prompt, asked.output))
        else:
            self.waiting.append(asked)

    def _flush(self):
        self.uld.update_state(self.update if any(vars(self.update).values()) else None)
        self.update = SimpleNamespace(removed=[], added=[], moved=[])

    def _expected(self, logits, row):
        steering = self.uld._steering
        known = []
        for name in row.names:
            reading = Reading((*row.prompt, *row.output), lora=(steering._lora(steering._folder / name), 1.0))
            with torch.inference_mode():
                known.append(steering._decoder.read([reading])[1][0, -1])
        with torch.inference_mode():
            return combined(logits[None], torch.stack(known), [0] * len(known), [STRENGTH] * len(known))[0]


def test_a_batch_that_changes_as_it_likes(plugin, env, config):
    class Played(Batch):
        def make(self):
            return plugin.Uld(config, torch.device("cpu"), False)

    run_state_machine_as_test(
        Played, settings=settings(max_examples=25, stateful_step_count=20, deadline=None, database=None)
    )


# --- V2: slots, with tokens on the device


class Slots:
    """V2's buffers, and the layout of a step over some of the slots."""

    def __init__(self, size=4, length=16):
        self.device = torch.device("cpu")
        self.all_token_ids = SimpleNamespace(gpu=torch.full((size, length), 50, dtype=torch.int32))
        self.prompt_len = SimpleNamespace(np=np.zeros(size, dtype=np.int32))
        self.prefill_len = SimpleNamespace(np=np.zeros(size, dtype=np.int32))

    def fill(self, slot, prompt, output=()):
        tokens = [*prompt, *output]
        self.all_token_ids.gpu[slot, : len(tokens)] = torch.tensor(tokens, dtype=torch.int32)
        self.prompt_len.np[slot], self.prefill_len.np[slot] = len(prompt), len(tokens)

    def layout(self, lengths):
        """`lengths`: tokens seen by slot, in the order of the rows."""
        slots = torch.tensor(list(lengths), dtype=torch.int32)
        return SimpleNamespace(
            expanded_idx_mapping=slots,
            idx_mapping_np=slots.numpy(),
            pos=torch.tensor(list(lengths.values())) - 1,
        )


def test_slots_are_steered_wherever_their_rows_are(plugin, env, config):
    states = Slots()
    uld = plugin.Uld(config, states)
    assert uld.add_request(2, params(*NAMES)) is True
    assert uld.add_request(0, params()) is False
    assert uld.add_request(1, params(GONE)) is True
    assert uld.add_request(3, params(NAMES[0])) is True
    for slot in range(3):
        states.fill(slot, [3, 4, 5], [6])
    states.fill(3, [0, 0, 0])  # embeddings
    for lengths in ({0: 4, 2: 4, 1: 4, 3: 3}, {3: 3, 1: 4, 2: 4, 0: 4}):
        before = torch.randn(4, V)
        after = uld.apply(before.clone(), states.layout(lengths))
        rows = {slot: row for row, slot in enumerate(lengths)}
        assert torch.equal(after[rows[0]], before[rows[0]])
        assert is_end(after[rows[1]])
        assert is_end(after[rows[3]])
        batch = Batch.__new__(Batch)
        batch.uld = uld
        wanted = batch._expected(before[rows[2]], Asked(NAMES, [3, 4, 5], [6]))
        assert torch.allclose(after[rows[2]], wanted, atol=1e-4)


def test_a_slot_forgets_who_was_in_it(plugin, env, config):
    states = Slots()
    uld = plugin.Uld(config, states)
    uld.add_request(1, params(*NAMES))
    uld.add_request(1, params())
    states.fill(1, [3, 4])
    logits = torch.randn(1, V)
    assert torch.equal(uld.apply(logits.clone(), states.layout({1: 2})), logits)


def test_a_prompt_read_in_part_ends_and_is_read_when_it_is_whole(plugin, env, config):
    states = Slots()
    uld = plugin.Uld(config, states)
    uld.add_request(1, params(NAMES[0]))
    states.fill(1, [3, 4, 5, 6])
    assert is_end(uld.apply(torch.randn(1, V), states.layout({1: 2}))[0])
    assert not uld._steering._companion._held
    assert not is_end(uld.apply(torch.randn(1, V), states.layout({1: 4}))[0])


# --- the interfaces as they are installed


def installed(module):
    """The classes of a module of the real vLLM, as syntax: name → its methods' arguments and its fields."""
    try:
        home = vllm_python().parent.parent
    except VllmError as error:
        pytest.skip(str(error))
    source = next(home.glob(f"lib/python*/site-packages/{module.replace('.', '/')}.py"), None)
    if source is None:
        pytest.skip(f"no {module} at {home}")
    found = {}
    for node in ast.parse(Path(source).read_text()).body:
        if isinstance(node, ast.ClassDef):
            methods = {
                one.name: [arg.arg for arg in one.args.args] for one in node.body if isinstance(one, ast.FunctionDef)
            }
            fields = {one.target.id for one in node.body if isinstance(one, ast.AnnAssign)}
            found[node.name] = methods, fields
    return found


def test_the_first_interface_is_as_we_take_it(plugin):
    found = installed(V1)
    methods, _ = found["LogitsProcessor"]
    assert methods == {
        "validate_params": ["cls", "sampling_params"],
        "__init__": ["self", "vllm_config", "device", "is_pin_memory"],
        "apply": ["self", "logits"],
        "is_argmax_invariant": ["self"],
        "update_state": ["self", "batch_update"],
    }
    assert found["BatchUpdate"][1] == {"batch_size", "removed", "added", "moved"}
    assert "MoveDirectionality" in found


def test_the_second_interface_is_as_we_take_it(plugin):
    found = installed(V2)
    methods, _ = found["LogitsProcessor"]
    assert methods == {
        "__init__": ["self", "vllm_config", "req_states"],
        "validate_params": ["cls", "sampling_params"],
        "add_request": ["self", "req_idx", "sampling_params"],
        "apply_staged_writes": ["self"],
        "apply": ["self", "logits", "ctx"],
    }
    assert {"device", "all_token_ids", "prompt_len", "prefill_len"} <= found["LogitsProcRequestState"][1]
    assert {"expanded_idx_mapping", "idx_mapping_np", "pos"} <= found["LogitsContext"][1]
