"""Forget requests and artifacts at rest: encrypted, versioned, never half-stored."""
