"""The decision, pure: facts and a snapshot in, a pick out.

Nothing here reads a clock, draws a random number, opens a socket or a file, awaits or logs. The
production server and the simulator call the same code.
"""
