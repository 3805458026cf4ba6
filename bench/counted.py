"""What a gateway counts, read off its /metrics; above all who made its answers.

Requests that a method enforces need not be answered in its words: what it says and cannot be shown is replaced by
ignorance's ready sentence (`gateway.voiced`), bare text is ignorance's under every method, and what is not
touched is passed on. So beside `enforced_by` stands `answered_by`, a count for each call of the public API.
Calls that only weigh text are counted by none. Of answers that the output guard stops the bare model's count as its
own (`pass`), a method's not at all.
"""

from collections import Counter
from collections.abc import Mapping

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

_ANSWERS = "lethe_plans_total"


async def samples(http: httpx.AsyncClient, name: str) -> list[Sample]:
    """All samples of one name."""
    return [one for one in parsed((await http.get("/metrics")).raise_for_status().text) if one.name == name]


def parsed(page: str) -> list[Sample]:
    """Every sample of a page of metrics, whoever wrote it."""
    families: list[Metric] = list(text_string_to_metric_families(page))
    return [sample for family in families for sample in family.samples]


async def answered(http: httpx.AsyncClient) -> Counter[str]:
    """Answers so far, by the method that made them."""
    return Counter({one.labels["method"]: int(one.value) for one in await samples(http, _ANSWERS)})


def between(before: Mapping[str, int], after: Mapping[str, int], *methods: str) -> dict[str, int]:
    """Answers between two looks; these methods are named where they made none, too."""
    return dict.fromkeys(methods, 0) | dict(Counter(after) - Counter(before))
