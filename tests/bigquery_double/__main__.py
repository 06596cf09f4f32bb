"""Runs the double until it is interrupted, to try the platform by hand."""

from __future__ import annotations

import argparse
import threading

from tests.bigquery_double.server import running_double


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bigquery_double", description=__doc__)
    parser.add_argument("--port", type=int, default=9050, help="port on the loopback address; 0: a free one")
    with running_double(parser.parse_args().port) as double:
        print(f"WELLOS_BIGQUERY_PROJECT=wellos-trial WELLOS_BIGQUERY_ENDPOINT={double.address}", flush=True)  # noqa: T201
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


main()
