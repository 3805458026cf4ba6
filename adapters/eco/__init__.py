"""ECO: embedding-corrupted prompts (arXiv 2406.07933)."""
