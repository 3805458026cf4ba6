"""WMDP's form (arXiv 2403.03218), asked by EleutherAI's lm-evaluation-harness.

Before this package: `bench.harness_client`, the harness as a client. After it: `bench/results/wmdp.json`.
"""
