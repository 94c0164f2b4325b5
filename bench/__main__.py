"""`make bench`: everything the documentation claims, measured on this machine."""

from __future__ import annotations

import sys

from bench import catalogue, pages, start

MEASUREMENTS = {
    "start": lambda: start.run(runs=5),
    "pages": lambda: pages.run(runs=40),
    "catalogue": lambda: catalogue.run(projects=2_000, runs=3),
    "catalogue-large": lambda: catalogue.run(projects=100_000, runs=1),
}


def main() -> None:
    """Run what is named on the command line, or everything."""
    for name in sys.argv[1:] or MEASUREMENTS:
        MEASUREMENTS[name]()


if __name__ == "__main__":
    main()
