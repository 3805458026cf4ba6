"""What is asked of the guards, set by set: rounds of forget requests, their probes and their controls.

After this package: `bench.omniscient` says what becomes of each probe. A module reads one set and
says how it was split: what is filed with a request, or calibrates a threshold, is never asked.
"""
