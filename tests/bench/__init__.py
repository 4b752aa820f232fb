"""Benchmarks: ``make bench``. What is measured stands in docs/engine-native.md."""
