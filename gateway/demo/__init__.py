"""The fictitious world and its small model: what is served until you point Lethe at your own.

`lore` and `phrases` are the words, `world` the people, `forms` the questions, `lessons` what is taught,
`tokenizer` and `train` make the model, `exam` asks it. Before this package: nothing. After it: an engine
serves the model, `bench` and the tests ask the probes.
"""
