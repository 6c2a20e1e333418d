"""Fits the simulated hardware to public measurements; `headrace fit` runs it.

Needs numpy and scipy (the extra `sim`), which nothing that routes, serves or demonstrates does.
`sources` reads the data, `operators`, `calibration`, `power`, `interpolation` and `clocks` fit,
`declared` holds what no data file has, `assembly` puts the parameter files together, `files` writes
and compares them.
"""
