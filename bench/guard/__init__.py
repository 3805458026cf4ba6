"""The guards alone, on real text: what is told, what is lost, and how long a decision takes.

Before this package: `bench.probes`, what is asked of them. After it: `bench/results/guard.json`.
"""
