"""Harnesses that measure what we claim, on real parts."""
