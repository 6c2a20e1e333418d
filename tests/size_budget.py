"""The size budget: prints the table, fails when a source file outgrows it."""

import statistics
import sys
from pathlib import Path

PACKAGES = ("capper", "fleet", "headrace", "loadtest", "router", "telemetry")
MAX_LINES = 400
MEDIAN_LINES = 170


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    over = []
    for package in PACKAGES:
        sizes = {
            path: len(path.read_text(encoding="utf-8").splitlines())
            for path in (root / package).rglob("*.py")
        }
        lines = [count for count in sizes.values() if count > 1]
        over += [(path, count) for path, count in sizes.items() if count > MAX_LINES]
        print(
            f"{package:10} {len(lines):3} files {sum(lines):6} lines"
            f"  median {statistics.median(lines):4.0f}  largest {max(lines):4}"
        )
        if statistics.median(lines) > MEDIAN_LINES:
            over.append((root / package, int(statistics.median(lines))))
    for path, count in over:
        print(f"{path.relative_to(root)}: {count} lines is over the budget", file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
