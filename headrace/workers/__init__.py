"""Several processes that answer Envoy and decide as one: `headrace serve --workers N`.

The parent does what is done once: telemetry, capping, the admin port, access logs, supervision.
Each worker answers Envoy on a socket of its own. Down to the workers go snapshots, prices and
topology, up come metrics, both over one socket pair each; the requests in flight of all of them
are in every worker's ledger by way of shared memory (router.workers).

A worker imports neither telemetry's sources nor the capper: it must stay small.
"""
