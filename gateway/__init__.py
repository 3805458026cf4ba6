"""The HTTP edge and the control plane: the only code that knows HTTP.

Before this package: a client that speaks OpenAI's API. After it: `guards` decide, `adapters` plan,
`gateway.engines` generate.
"""
