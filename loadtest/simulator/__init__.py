"""The discrete-event simulator of a fleet, its telemetry and its racks.

Pure: time is a virtual clock, randomness is seeded, and nothing here reads a file, opens a socket
or waits. The same world, arm, arrivals and seed give the same result.
"""
