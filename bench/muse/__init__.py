"""MUSE's six ways (arXiv 2407.06460), on the demo world and of a given model.

Before this package: `gateway.process`, a gateway as its own process. After it: `bench/results/muse.json`.
"""
