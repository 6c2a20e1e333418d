"""Energy, carbon and tokens of every request, exact and in constant time per event.

`shares` integrates a replica's power over its requests, `meter` keeps one such integral per
replica, `recorder` joins what is known of a request when it ends. All pure but `access_log` (a
file), `collector` (Prometheus) and `als` (gRPC).
"""
