"""A BigQuery of the tests' own: the endpoints the cold store uses, over DuckDB, with faults on demand.

Driven through the real google-cloud-bigquery client only. What it models: day partitions and their decorators, loads
that replace one partition at once, the partition filter, the byte limit, job ids that are used once, resumable uploads.
By hand: `python -m tests.bigquery_double --port 9050`, then `WELLOS_BIGQUERY_ENDPOINT=http://127.0.0.1:9050`.
"""

from tests.bigquery_double.server import Double, running_double

__all__ = ["Double", "running_double"]
