"""`python -m tests.baselines`: make what is counted now the baseline, and say what changed."""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from baseline_files import SCRIPTS, baseline, measured, write


def main():
    for script in SCRIPTS:
        if script == "hot_path_instructions" and shutil.which("valgrind") is None:
            print(f"{script}: left as it is, there is no valgrind on PATH", file=sys.stderr)
            continue
        try:
            old, _ = baseline(script)
        except FileNotFoundError:
            old = {}
        counts = measured(script)
        for name, value in counts.items():
            before = f"{old[name]:g}" if name in old else "none"
            print(f"{name}: {before} -> {value:g}")
        write(script, counts)


if __name__ == "__main__":
    main()
