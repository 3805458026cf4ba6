"""Adapters enforce: each turns a touched prompt into a plan, by one unlearning method.

Before this package: a verdict of `guards`. After it: an engine of `gateway.engines`, which
generates under the plan.
"""
