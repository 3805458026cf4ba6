"""The public API: one endpoint family per file."""
