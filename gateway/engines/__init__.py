"""Engines generate. `adapters.base.Engine` is the protocol; callers ask for capabilities, never for a class."""
