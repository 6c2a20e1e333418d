"""Recorded and synthetic traffic as streams of `loadtest.arrivals.Arrival`.

Reading: `opening` (any known file), behind it `azure`, `burstgpt`, `mooncake`, `columns` (a CSV
whose columns the user names) and `rate_curve` (a load from which arrivals are drawn) on top of
`lines`, `csv_records`, `fields` and `rows`. Every fault of a file is one `errors.TraceError`.

Reshaping: `modifiers` (what, how much), `warps` (when), `prefix` (what is shared).

Statistics that the synthetic generators draw from: `azure_conv`, `azure_code`, `quantile_lines`.

Everything is pulled one arrival at a time: memory does not grow with the length of a trace.
"""
