"""Everything on one machine: simulated fleet, Prometheus, router, Envoy, load and live table."""
