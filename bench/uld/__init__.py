"""ULD (arXiv 2406.08607) on the demo world: what it forgets, by itself too, and what a steered token costs.

Before this package: `gateway.process`, a gateway as its own process. After it: `bench/results/uld.json`.
"""
