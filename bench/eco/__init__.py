"""The main job on the demo world: people forgotten by ECO, and what that costs the service.

Before this package: `gateway.process`, a gateway as its own process. After it: `bench/results/eco.json`.
"""
