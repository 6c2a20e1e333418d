"""Racks for new pods: the admission webhook that gates them, and who chooses, reserves and sweeps.

What is chosen is decided in `capper.decide`; here are Kubernetes, Prometheus and time.
"""
