"""What a gateway says to vLLM of an answer that is steered: by `vllm_xargs`, which clients cannot send.

Assistants lie in a folder that both see, under names of hexadecimal digits, and are named with their
strengths. A folder that holds `examination.json` is none: it names tokens, which are the answer, so that a
gateway can tell whether a server obeys. Where tokens are named besides, nothing but one of them is said, of what was
steered before: a server's own `allowed_token_ids` come first, and would change what steering sees.
"""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from adapters.base import Strength

KEY = "lethe_uld"
EXAMINATION = "examination.json"
MOST = 8  # assistants of one answer
MOST_SAID = 2  # tokens that it is limited to
_NAME = re.compile(r"[0-9a-f]{16,64}")


@dataclass(frozen=True, slots=True)
class Named:
    """The assistant in the folder of this name, and how strongly it is subtracted."""

    folder: str
    strength: Strength


@dataclass(frozen=True, slots=True)
class Asked:
    """What lowers an answer, and the tokens of which one is said; none: any."""

    assistants: tuple[Named, ...]
    only: tuple[int, ...] = ()


def dumps(asked: Asked) -> dict[str, str]:
    """The value of `vllm_xargs`."""
    told = [{"folder": one.folder, **asdict(one.strength)} for one in asked.assistants]
    return {KEY: json.dumps({"assistants": told, "only": asked.only}, allow_nan=False)}


def loads(text: object) -> Asked:
    """What is asked for.

    Raises:
        ValueError: this is no such text; what it says is not quoted.
    """
    try:
        told: Any = json.loads(text) if isinstance(text, str) else {}
        assistants, only = told["assistants"], told["only"]
        if not 1 <= len(assistants) <= MOST or len(only) > MOST_SAID or not all(type(one) is int for one in only):
            raise ValueError
        return Asked(tuple(_named(**one) for one in assistants), tuple(only))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise ValueError(f"{KEY} names assistants, each with a folder and its strength, and tokens") from None


def _named(folder: str, alpha: float, depth: float, flat: float, first: float, tail: float) -> Named:
    if not _NAME.fullmatch(folder):
        raise ValueError
    return Named(folder, Strength(float(alpha), float(depth), float(flat), float(first), float(tail)))
