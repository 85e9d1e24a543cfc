"""Metrics of any videos, after VBench and VBench-Long (docs/metrics.md)."""
