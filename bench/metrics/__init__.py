"""The metrics of unlearning benchmarks, as pure functions: no model, no data set and no gateway is known here.

Before it: a harness asks or scores, item by item. After it: `bench.result`. Definitions follow OpenUnlearning
(arXiv 2506.12618), whose released logs the tests recompute, so that numbers compare; each module says where a
paper has it otherwise. A loss is the mean negative log-likelihood in nats of an answer's tokens, its end included.
Shares are given with Wilson's interval by `gateway.registry.Rate`, everything else by `intervals`.
"""

EPSILON = 1e-10  # OpenUnlearning's, in every denominator that may be zero
