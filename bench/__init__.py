"""Harnesses that measure what we claim, on real parts: a gateway process, its public API, real models.

Before this package: everything else. After it: `bench/results/*.json`, which README and docs quote.
"""
