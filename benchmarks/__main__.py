"""usage: python -m benchmarks [PART OF A NAME]"""

from __future__ import annotations

import sys

from benchmarks import main_job
from benchmarks.ratios import compare


def main(argv: list[str]) -> None:
    wanted = argv[0] if argv else ""
    for comparison in main_job.comparisons():
        if wanted in comparison.name:
            print(compare(comparison), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
