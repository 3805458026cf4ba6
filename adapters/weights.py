"""Causal language models in transformers' format, made one at a time.

transformers 5 makes a model by changing what all threads share (default dtype, initialisers): of sixteen loads by two
threads at once fourteen ended with weights that were never read.
"""

from pathlib import Path
from threading import Lock
from typing import Any

import torch

_turn = Lock()


def causal_lm(folder: Path, dtype: torch.dtype | str = "auto") -> Any:
    """The model in `folder`, on the CPU, by default in the type that its files name.

    Raises:
        Exception: whatever transformers makes of files that are no model.
    """
    from transformers import AutoModelForCausalLM

    with _turn:
        return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=dtype)


def skeleton(config: Any) -> Any:
    """A model of this configuration without weights.

    Raises:
        Exception: whatever transformers makes of a configuration that it does not know.
    """
    from transformers import AutoModelForCausalLM

    with _turn, torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)
