"""The fleet as a Kubernetes cluster has it.

Pure: settings, objects, endpoints, hardware, pool_policies, view (objects in, a FleetView out; no
I/O, no clock). Shell: client, watcher, prober, source.
"""
