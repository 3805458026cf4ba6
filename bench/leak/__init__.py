"""What is still said of forgotten people of the demo world when it is asked in other ways, and often.

Before this package: `gateway.process`, a gateway as its own process. After it: `bench/results/leak.json`.
"""
