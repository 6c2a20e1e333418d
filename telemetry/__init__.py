"""Where snapshots come from: Prometheus and direct scrapes, merged by a poller.

Pure modules (no I/O, no clock): `reading`, `kinds`, `families`, `exposition`, `fleet_index`,
`attribution`, `queries`, `query_answers`, `series`, `counters`, `assembly`. The shell:
`system_clock`, `slices`, `bounded_body`, `scrape`, `promql`, `promql_range`, `prometheus_source`,
`poller`, `instruments`. Nothing here decides anything about requests or caps.
"""
