"""O3 (arXiv 2407.10223) on the demo world: a stream of forget requests, its detectors, and what many of them cost.

Before this package: `gateway.process`, a gateway as its own process. After it: `bench/results/o3.json`.
"""
