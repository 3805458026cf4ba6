"""What the learning job tries, and a benchmark therefore does not ask."""

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.jobs.curriculum import untaught, wide
from gateway.jobs.probes import names_in
from gateway.registry import ForgetSpec


def tried(bodies: Iterable[Mapping[str, Any]]) -> set[str]:
    """The questions from which any method learns when these are filed, and those with which it is verified.

    What the model itself writes is not among them: nobody knows it before.
    """
    specs = [ForgetSpec(**body) for body in bodies]
    return {question for spec in specs for question in (*untaught(spec), *wide(spec, names_in(spec)))}
