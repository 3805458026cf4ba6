"""Guards decide whether a text touches a forget target; they never change it.

Before this package: a conversation, read out of a request by `gateway.params`.
After it: a `Verdict`, from which `adapters.router` makes a plan.
"""
