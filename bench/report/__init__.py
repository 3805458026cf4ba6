"""`lethe bench report`: what all benchmarks found, as docs/benchmarks.md and a page for browsers."""
