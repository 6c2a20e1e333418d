"""Capping decisions, pure: no clock, randomness, sockets, files, awaiting or logging."""
