"""The table against vLLM's own word for what it takes: a parameter that a new version brings is found by its name."""

import asyncio
import json
import subprocess
from collections.abc import Iterable

import httpx
import pytest

from bench.serving import vllm_python
from gateway.params.table import BY_ENDPOINT, CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES

# A server that generates has no such endpoint, so that its OpenAPI document does not say this.
_EMBEDDING_FIELDS = """
import json, typing
from vllm.entrypoints.pooling.embed.protocol import EmbeddingRequest
kinds = typing.get_args(typing.get_args(EmbeddingRequest)[0])
print(json.dumps(sorted({name for kind in kinds for name in kind.model_fields})))
"""


def without_a_row(endpoint: str, names: Iterable[str]) -> set[str]:
    return set(names) - BY_ENDPOINT[endpoint].keys()


@pytest.mark.parametrize("endpoint", [CHAT, COMPLETIONS, RESPONSES])
async def test_every_parameter_of_the_server_has_a_row(direct: httpx.AsyncClient, endpoint: str) -> None:
    document = (await direct.get("/openapi.json")).json()
    body = document["paths"][endpoint]["post"]["requestBody"]["content"]["application/json"]["schema"]
    schema = document["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    assert len(schema["properties"]) > 40
    assert without_a_row(endpoint, schema["properties"]) == set()


async def test_every_parameter_of_its_embeddings_has_a_row(served_model: object) -> None:
    listing = await asyncio.create_subprocess_exec(vllm_python(), "-c", _EMBEDDING_FIELDS, stdout=subprocess.PIPE)
    printed, _ = await listing.communicate()
    names = json.loads(printed.splitlines()[-1])
    assert len(names) > 10
    assert without_a_row(EMBEDDINGS, names) == set()
