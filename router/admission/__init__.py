"""Admission: requests that may not go yet wait, within bounds, and the most important go first.

`queue`, `turns`, `settings` and `refusals` are pure; `decider` is the asyncio shell around them.
"""
