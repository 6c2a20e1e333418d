"""Conversion to SI at the edge, done once."""

JOULES_PER_MILLIJOULE = 1e-3
HERTZ_PER_MEGAHERTZ = 1e6
SECONDS_PER_MILLISECOND = 1e-3
