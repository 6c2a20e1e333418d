"""Who answered, by Envoy's own access log: it names the replica that each request went to."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

_STATUS_OK = 200


def served_requests(access_log: Path, names: Mapping[str, str]) -> dict[str, int]:
    """Complete answers by replica, in the order of their names.

    Args:
        access_log: JSON lines as `headrace.envoy_listener` has them; whole once Envoy has ended.
        names: "ip:port" -> name of the replica.
    """
    counts: Counter[str] = Counter()
    for line in access_log.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["method"] == "POST" and entry["status"] == _STATUS_OK:
            counts[names[entry["upstream_host"]]] += 1
    return dict(sorted(counts.items()))
