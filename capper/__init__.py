"""The capper: keeps the fleet under its power, temperature and carbon caps.

`capper.decide` is its pure core. Nothing here imports `router`: the two meet in `headrace.serve`,
which hands both the same snapshot holder and the same price board.
"""
