"""Measure everything, or what has a word in its name: ``python -m benchmarks [WORD]``."""

from __future__ import annotations

import sys

from benchmarks import delivery, main_job, registry
from benchmarks.ratios import compare


def main(argv: list[str]) -> None:
    wanted = argv[0] if argv else ""
    for comparison in main_job.comparisons():
        if wanted in comparison.name:
            print(compare(comparison), flush=True)
    if wanted in "call registry":
        registry.main([])
    if wanted in "durable delivery drain memory latency":
        delivery.run(lambda line: print(line, flush=True))


if __name__ == "__main__":
    main(sys.argv[1:])
