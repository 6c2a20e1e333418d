"""What a committed set leaves of replicas that several models share."""

from router.decide.commitment import Commitment
from router.decide.pool import Pool


def take_shares(pool: Pool, commitment: Commitment, used: dict[str, float]) -> None:
    """Fill the committed members in merit order and note what each one's share comes to."""
    remaining = commitment.requests_per_second
    for group in sorted(
        pool.groups, key=lambda group: (group.decode_joules_per_token, group.units[0].backend.name)
    ):
        for unit in group.units:
            if unit.address in commitment.addresses and remaining > 0.0:
                free_ratio = 1.0 - used.get(unit.address, 0.0)
                taken = min(remaining, free_ratio * group.capacity_requests_per_second)
                used[unit.address] = 1.0 - free_ratio + taken / group.capacity_requests_per_second
                remaining -= taken
