"""Smoothing in a running capper: history from Prometheus, a plan now and then, hints."""
