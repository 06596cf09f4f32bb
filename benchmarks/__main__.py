"""Entry of every benchmark: `python -m benchmarks NAME [options]`; without a name, the list of them."""

from __future__ import annotations

import sys
from importlib import import_module

BENCHMARKS = {
    "adapters": "benchmarks.adapters",
    "apply_fleet": "benchmarks.apply_fleet",
    "archive": "benchmarks.archive",
    "cache": "benchmarks.cache",
    "cold_read": "benchmarks.cold_read",
    "copy_readings": "benchmarks.copy_readings",
    "field_servers": "benchmarks.field_servers",
    "hot": "benchmarks.hot",
    "ingest": "benchmarks.ingest",
    "journal": "benchmarks.journal",
    "latency": "benchmarks.latency",
    "memory": "benchmarks.memory",
    "merge": "benchmarks.merge",
    "query": "benchmarks.query",
    "validate": "benchmarks.validate",
}


def main(argv: list[str]) -> int:
    """Run the named benchmark with the rest of the arguments."""
    if not argv or argv[0] not in BENCHMARKS:
        print(f"usage: python -m benchmarks NAME [--help]\n\n{_listed()}", file=sys.stderr)
        return 0 if argv[:1] in (["--help"], ["-h"]) else 2
    run = import_module(BENCHMARKS[argv[0]]).main
    return int(run(argv[1:]))


def _listed() -> str:
    docs = {name: (import_module(module).__doc__ or "").splitlines()[0] for name, module in BENCHMARKS.items()}
    return "\n".join(f"{name:16}{doc}" for name, doc in docs.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
