"""Where snapshots come from: Prometheus and direct scrapes, merged by a poller.

Pure modules (no I/O, no clock): `reading`, `kinds`, `families`, `exposition`, `attribution`,
`queries`, `counters`, `assembly`. The shell: `system_clock`, `scrape`, `promql`,
`prometheus_source`, `poller`, `instruments`. Nothing here decides anything about requests or caps.
"""
