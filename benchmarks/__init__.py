"""The side-by-side benchmark: `python -m benchmarks`; what it does and how to read it is in docs/benchmarks.md."""
