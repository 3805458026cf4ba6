"""TOFU (arXiv 2401.06121): models that know two hundred made-up authors, and how well the gateway makes them forget.

Before this package: TOFU's data and `bench.metrics`. After it: `bench/results/tofu.json`.
"""
