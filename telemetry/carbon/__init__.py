"""Carbon intensity of the grid: providers, their cache, and what is emitted with them.

`slots`, `published`, `failures`, `uk_wire`, `electricity_maps_wire`, `watttime_wire`, `csv_rows`
and `emission` do no I/O and read no clock; the time is an argument everywhere else too.
Averages and marginals are two kinds of figure that are never mixed.
"""
