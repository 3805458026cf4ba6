"""EleutherAI's lm-evaluation-harness as a client of the gateway, and two small tasks of our own for it.

Likelihood tasks (WMDP, MMLU, most others) go to `/v1/completions` with `echo`, which takes a key with the scope
`evaluate`; tasks that generate go to chat with any key. What is sent is text, never token ids, one prompt a request.
docs/benchmarks-clients.md says what is measured so, and what is not.

    python -m bench.harness_client FOLDER    writes the tasks of the demo world, for `--include_path FOLDER`
"""

import asyncio
import json
import os
import random
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.demo.train import DEMO
from gateway.demo.world import Person, World
from guards.base import LetheError

CHOICES, ANSWERS = "lethe_cities", "lethe_cities_chat"
_OPTIONS = 4
_TASKS: Mapping[str, str] = {
    CHOICES: """\
output_type: multiple_choice
doc_to_text: "{{name}} lives in"
doc_to_choice: "{{cities}}"
doc_to_target: "{{gold}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
""",
    ANSWERS: """\
output_type: generate_until
doc_to_text: "Where does {{name}} live?"
doc_to_target: "{{name}} lives in {{cities[gold]}}."
generation_kwargs:
  until: ["\\n"]
  max_gen_toks: 24
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
""",
}


class HarnessError(LetheError):
    """The harness failed; its last words are the message."""


@dataclass(frozen=True, slots=True)
class Client:
    """The harness before one gateway.

    Args:
        program: `lm_eval`, in an environment of its own: `pip install "lm_eval[api]" transformers torch`.
        url: of the gateway.
        model: as clients ask for it.
        tokenizer: the served model's folder, or its name on a hub: contexts are counted in its tokens.
        key: with the scope `evaluate` for likelihood tasks.
        at_once: requests.
    """

    program: Path
    url: str
    model: str
    tokenizer: str
    key: str = field(repr=False)
    at_once: int = 4

    def command(self, tasks: Sequence[str], output: Path, *more: str, chat: bool = False) -> list[str]:
        """The command line; `chat`: the tasks generate, and are asked through the chat template."""
        known = {"model": self.model, "num_concurrent": str(self.at_once), "tokenized_requests": "False"}
        if chat:
            kind, route = "local-chat-completions", "chat/completions"
        else:
            kind, route = "local-completions", "completions"
            known |= {"tokenizer_backend": "huggingface", "tokenizer": self.tokenizer}
        given = ",".join(f"{name}={value}" for name, value in {"base_url": f"{self.url}/v1/{route}", **known}.items())
        asked = [str(self.program), "run", "--model", kind, "--model_args", given, "--tasks", ",".join(tasks)]
        return [*asked, "--output_path", str(output), *(["--apply_chat_template"] if chat else []), *more]

    async def run(self, tasks: Sequence[str], output: Path, *more: str, chat: bool = False) -> dict[str, Any]:
        """The harness's own results, as it writes them; `samples` by task where `--log_samples` is given.

        Raises:
            HarnessError: it ended with another status than 0, or wrote nothing.
        """
        process = await asyncio.create_subprocess_exec(
            *self.command(tasks, output, *more, chat=chat),
            env=os.environ | {"OPENAI_API_KEY": self.key},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, said = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        found = await asyncio.to_thread(_results, output, tasks)
        if process.returncode or found is None:
            raise HarnessError(said.decode(errors="replace").strip().rpartition("\n")[2])
        return found


def installed() -> Path:
    """The harness: `LM_EVAL`, or `lm_eval` where programs are looked for.

    Raises:
        HarnessError: there is none.
    """
    program = os.environ.get("LM_EVAL", "lm_eval")
    if (found := shutil.which(program)) is None:
        raise HarnessError(
            f'no {program}: `pip install "lm_eval[api]" transformers` in an environment of its own '
            "installs it, LM_EVAL says where it is"
        )
    return Path(found)


def write_tasks(folder: Path, world: World, seed: int = 0) -> None:
    """The tasks of a world, for `--include_path`: in which of four cities somebody lives, chosen and said."""
    rows = list(cities(world, seed))
    for name, form in _TASKS.items():
        write_task(folder, name, rows, form)


def write_task(folder: Path, name: str, rows: Iterable[Mapping[str, Any]], form: str) -> None:
    """One task for `--include_path`: its rows, and how they are asked and marked, in the harness's YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = f"dataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {data.resolve()}\ntest_split: test\n"
    (folder / f"{name}.yaml").write_text(f"task: {name}\n{source}{form}metadata:\n  version: 1\n")


def cities(world: World, seed: int = 0) -> Iterator[dict[str, Any]]:
    """A row a person: `name`, `cities`, and `gold`, the place of the right one."""
    rng = random.Random(seed)
    known = sorted({person.attributes["city"] for person in world.people})
    for person in world.people:
        yield {"name": person.name, **_options(rng, person, known)}


def _options(rng: random.Random, person: Person, known: Sequence[str]) -> dict[str, Any]:
    right = person.attributes["city"]
    options = [right, *rng.sample([city for city in known if city != right], _OPTIONS - 1)]
    rng.shuffle(options)
    return {"cities": options, "gold": options.index(right)}


def _results(output: Path, tasks: Sequence[str]) -> dict[str, Any] | None:
    written = sorted(output.rglob("results_*.json"))
    if not written:
        return None
    found: dict[str, Any] = json.loads(written[-1].read_text())
    return found | {"samples": {task: _samples(output, task) for task in tasks}}


def _samples(output: Path, task: str) -> list[dict[str, Any]]:
    written = sorted(output.rglob(f"samples_{task}_2*.jsonl"))
    return [json.loads(line) for line in written[-1].read_text().splitlines()] if written else []


if __name__ == "__main__":
    write_tasks(Path(sys.argv[1]), DEMO.world())
