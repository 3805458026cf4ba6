"""O3: continual unlearning with detectors and orthogonal LoRA (arXiv 2407.10223)."""
