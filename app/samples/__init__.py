"""Synthetic product data of any size, in constant memory: for demos, trials and benchmarks."""
