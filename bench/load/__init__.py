"""The gateway under load: beside a bare upstream and beside LiteLLM, on the same two cores, in one run.

Before this package: `gateway.process`, a gateway as its own process. After it: `bench/results/load.json`.
"""
