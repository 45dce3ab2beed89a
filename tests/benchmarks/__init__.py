"""Benchmarks: the vault beside the bare drivers and beside peers, interleaved in one run.

``python -m tests.benchmarks`` prints ratios beside the goals and writes docs/explanation/performance.md.
"""
