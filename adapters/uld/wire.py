"""What a gateway says to vLLM of an answer that is steered: by `vllm_xargs`, which clients cannot send.

Assistants lie in a folder that both see, under names of hexadecimal digits, and are named with their
strengths. A folder that holds `examination.json` is none: it names tokens, which are the answer, so that a
gateway can tell whether a server obeys.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from adapters.base import Strength

KEY = "lethe_uld"
EXAMINATION = "examination.json"
MOST = 8  # assistants of one answer
_NAME = re.compile(r"[0-9a-f]{16,64}")


@dataclass(frozen=True, slots=True)
class Named:
    """The assistant in the folder of this name, and how strongly it is subtracted."""

    folder: str
    strength: Strength


def dumps(assistants: Sequence[Named]) -> dict[str, str]:
    """The value of `vllm_xargs`."""
    told = [{"folder": one.folder, **asdict(one.strength)} for one in assistants]
    return {KEY: json.dumps(told, allow_nan=False)}


def loads(text: object) -> tuple[Named, ...]:
    """The assistants that are asked for.

    Raises:
        ValueError: this is no such text; what it says is not quoted.
    """
    try:
        told = json.loads(text) if isinstance(text, str) else None
        if not isinstance(told, list) or not 1 <= len(told) <= MOST:
            raise ValueError
        return tuple(_named(**one) for one in told)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise ValueError(f"{KEY} is a list of assistants, each with a folder and its strength") from None


def _named(folder: str, alpha: float, depth: float, flat: float, first: float, tail: float) -> Named:
    if not _NAME.fullmatch(folder):
        raise ValueError
    return Named(folder, Strength(float(alpha), float(depth), float(flat), float(first), float(tail)))
