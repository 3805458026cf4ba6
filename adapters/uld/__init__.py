"""ULD: unlearning from logit difference (arXiv 2406.08607)."""
