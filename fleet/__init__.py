"""What both halves of Headrace know about the fleet: pure values and formulas.

All functions here are computational. No module of this package reads a clock, draws a random
number, opens a socket or a file, or logs; time and randomness are arguments of those who need them.
"""
