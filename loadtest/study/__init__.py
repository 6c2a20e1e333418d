"""Runs scenarios: reads their files, plays every arm on the same arrivals, in parallel if asked.

The imperative shell around `loadtest.simulator`, which does no I/O.
"""
