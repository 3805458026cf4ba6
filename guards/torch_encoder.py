"""Any sentence-transformers model from a folder, in fp32 on the CPU: the reference, and the way for what is no BERT."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from transformers.utils import logging

from guards.encoder import BatchingEncoder, Floats


class SentenceEncoder(BatchingEncoder):
    """One batch at a time, on `threads` of torch's."""

    def __init__(self, folder: Path, weights: str, threads: int = 1) -> None:
        logging.disable_progress_bar()
        model: Any = SentenceTransformer(str(folder), device="cpu", local_files_only=True)

        def forward(texts: list[str]) -> Floats:
            rows = model.encode(texts, batch_size=len(texts), normalize_embeddings=True, show_progress_bar=False)
            return np.asarray(rows, np.float32)

        def layers(texts: list[str]) -> Floats:
            with torch.inference_mode():
                inputs = model[0].preprocess(texts)
                states = model[0].auto_model(**inputs, output_hidden_states=True, return_dict=True).hidden_states
                mask = inputs["attention_mask"][:, None, :, None]  # (n, 1, tokens, 1)
                stacked = torch.stack(states, 1)  # (n, L, tokens, d)
                return np.asarray((stacked * mask).sum(2) / mask.sum(2), np.float32)

        super().__init__(
            f"sentence-transformers:{weights}",
            int(model.get_embedding_dimension()),
            forward,
            layers if hasattr(model[0], "auto_model") else None,
            # torch counts threads for each thread that calls it: the engine's choice is its own
            prepare=lambda: torch.set_num_threads(threads),
        )
