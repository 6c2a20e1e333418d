"""Cooling control: set-points that `capper.decide.cooling` decides, and who is told of them."""
