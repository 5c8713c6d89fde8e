"""Run the benchmarks and print ratios beside their goals: `python -m tests.benchmarks [--quick] [--only NAME] [--json]`

Only ratios are worth reading: absolute times differ from machine to machine and from minute to minute.
"""

import argparse
import asyncio
import json
import sys

import attrs

from .cases import CASES
from .measure import FULL, QUICK, Row
from .server import Server

_MET = {True: "yes", False: "NO", None: ""}


def _line(row: Row) -> str:
    value = f"{row.value:.2f} {row.unit}".strip()
    return f"{row.name:<11}{row.what:<62}{value:>11}  {row.goal:<8}{_MET[row.met]:<5}{row.note}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and calls, and so rougher figures")
    parser.add_argument("--only", choices=CASES, metavar="NAME", help=f"one of {', '.join(CASES)}")
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    asked = parser.parse_args()
    size = QUICK if asked.quick else FULL
    names = [asked.only] if asked.only else list(CASES)
    rows: list[Row] = []
    if not asked.json:
        print(f"{'benchmark':<11}{'what':<62}{'measured':>11}  {'goal':<8}{'met':<5}({size.name} size)")
    with Server(size.users) as server:
        for name in names:
            found = asyncio.run(CASES[name](server, size))
            rows += found
            if not asked.json:
                print("\n".join(map(_line, found)), flush=True)
    if asked.json:
        print(json.dumps([{**attrs.asdict(row), "met": row.met} for row in rows], indent=2))
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
