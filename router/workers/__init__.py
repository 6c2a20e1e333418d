"""Several router processes that decide as one: each repeats what the others do.

Every worker writes its own entries, moves and ends into a ring in shared memory and reads those of
the others before it picks. See docs/decisions/0025-workers-share-a-ledger.md.
"""
