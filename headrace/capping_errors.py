"""What can keep a capper from starting; apart, so that a router alone need not import one."""


class CappingStartError(Exception):
    """The capper cannot be started; the sentence says why."""
