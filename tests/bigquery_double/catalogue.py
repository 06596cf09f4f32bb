"""Datasets, tables and day partitions: the descriptions are dictionaries, the rows lie in DuckDB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from tests.bigquery_double.refusals import Json, Refusal

if TYPE_CHECKING:
    import pyarrow as pa

TYPES = {
    "INTEGER": "BIGINT",
    "FLOAT": "DOUBLE",
    "TIMESTAMP": "TIMESTAMP",
    "STRING": "VARCHAR",
}


@dataclass
class Table:
    """A table: the resource as it was asked for, and where its rows are."""

    resource: Json
    sql_name: str

    @property
    def columns(self) -> list[Json]:
        columns: list[Json] = self.resource["schema"]["fields"]
        return columns

    @property
    def partition_column(self) -> str | None:
        column: str | None = self.resource.get("timePartitioning", {}).get("field")
        return column

    @property
    def partition_id(self) -> str:
        """SQL of the partition that a row is in."""
        return f"strftime({self.partition_column}, '%Y%m%d')"


class Catalogue:
    """Everything that is stored. One thread at a time: the server sees to that."""

    def __init__(self) -> None:
        self.engine = duckdb.connect()
        self.engine.execute("SET threads = 1")
        self._datasets: dict[tuple[str, str], Json] = {}
        self._tables: dict[tuple[str, str, str], Table] = {}

    def create_dataset(self, project: str, body: Json) -> Json:
        name = body["datasetReference"]["datasetId"]
        if (project, name) in self._datasets:
            raise Refusal("duplicate", f"Already Exists: Dataset {project}:{name}")
        self._datasets[project, name] = {
            "kind": "bigquery#dataset",
            "id": f"{project}:{name}",
            "location": "US",
            **body,
        }
        self.engine.execute(f'CREATE SCHEMA "{project}.{name}"')
        return self._datasets[project, name]

    def dataset(self, project: str, name: str) -> Json:
        found = self._datasets.get((project, name))
        if found is None:
            raise Refusal("notFound", f"Not found: Dataset {project}:{name}")
        return found

    def create_table(self, project: str, dataset: str, body: Json) -> Json:
        self.dataset(project, dataset)
        name = body["tableReference"]["tableId"]
        if (project, dataset, name) in self._tables:
            raise Refusal("duplicate", f"Already Exists: Table {project}:{dataset}.{name}")
        table = Table(dict(body), f'"{project}.{dataset}"."{name}"')
        columns = ", ".join(
            f'"{column["name"]}" {TYPES[column["type"]]}{" NOT NULL" if column.get("mode") == "REQUIRED" else ""}'
            for column in table.columns
        )
        self.engine.execute(f"CREATE TABLE {table.sql_name} ({columns})")
        self._tables[project, dataset, name] = table
        return self.describe(project, dataset, name)

    def table(self, project: str, dataset: str, name: str) -> Table:
        self.dataset(project, dataset)
        found = self._tables.get((project, dataset, name.partition("$")[0]))
        if found is None:
            raise Refusal("notFound", f"Not found: Table {project}:{dataset}.{name}")
        return found

    def tables(self, project: str, dataset: str) -> dict[str, Table]:
        self.dataset(project, dataset)
        return {key[2]: table for key, table in self._tables.items() if key[:2] == (project, dataset)}

    def describe(self, project: str, dataset: str, name: str) -> Json:
        table = self.table(project, dataset, name)
        rows = self.rows(table, name.partition("$")[2])
        return {
            "kind": "bigquery#table",
            "id": f"{project}:{dataset}.{name}",
            "type": "TABLE",
            **table.resource,
            "location": self.dataset(project, dataset)["location"],
            "numRows": str(rows),
            "numBytes": str(8 * len(table.columns) * rows),
        }

    def patch_table(self, project: str, dataset: str, name: str, body: Json) -> Json:
        """Add columns; the service takes away or alters none either."""
        table = self.table(project, dataset, name)
        wanted = body["schema"]["fields"]
        if wanted[: len(table.columns)] != table.columns:
            raise Refusal("invalid", f"Provided Schema does not match Table {project}:{dataset}.{name}")
        for column in wanted[len(table.columns) :]:
            if column.get("mode") == "REQUIRED":
                raise Refusal("invalid", f"Cannot add required fields to an existing schema (field: {column['name']})")
            self.engine.execute(f'ALTER TABLE {table.sql_name} ADD COLUMN "{column["name"]}" {TYPES[column["type"]]}')
        table.resource["schema"] = body["schema"]
        return self.describe(project, dataset, name)

    def rows(self, table: Table, partition: str = "") -> int:
        ((rows,),) = self.engine.execute(f"SELECT count(*) FROM {table.sql_name}{where(table, partition)}").fetchall()
        return int(rows)

    def content(self, table: Table, partition: str = "") -> pa.Table:
        return self.engine.sql(f"SELECT * FROM {table.sql_name}{where(table, partition)}").to_arrow_table()

    def delete_partition(self, project: str, dataset: str, name: str) -> None:
        table = self.table(project, dataset, name)
        partition = name.partition("$")[2]
        if not partition:
            raise Refusal("invalid", "only partitions are deleted here")
        if not self.rows(table, partition):
            raise Refusal("notFound", f"Not found: Partition {project}:{dataset}.{name}")
        self.engine.execute(f"DELETE FROM {table.sql_name}{where(table, partition)}")

    def replace(self, project: str, dataset: str, name: str, rows: pa.Table) -> int:
        """Put these rows in a partition's place: a reader sees the old ones or the new ones."""
        table = self.table(project, dataset, name)
        partition = name.partition("$")[2]
        self.engine.register("incoming", rows)
        try:
            self._refuse_bad_rows(table, rows, partition)
            columns = ", ".join(f'"{column}"' for column in rows.column_names)
            self.engine.begin()
            try:
                self.engine.execute(f"DELETE FROM {table.sql_name}{where(table, partition)}")
                self.engine.execute(f"INSERT INTO {table.sql_name} ({columns}) SELECT {columns} FROM incoming")
            except duckdb.Error:
                self.engine.rollback()
                raise
            self.engine.commit()
        finally:
            self.engine.unregister("incoming")
        return int(rows.num_rows)

    def _refuse_bad_rows(self, table: Table, rows: pa.Table, partition: str) -> None:
        known = {column["name"]: column for column in table.columns}
        for name in rows.column_names:
            if name not in known:
                raise Refusal("invalid", f"Provided Schema does not match Table. Cannot add fields (field: {name})")
        for name, column in known.items():
            required = column.get("mode") == "REQUIRED"
            if required and (name not in rows.column_names or rows[name].null_count):
                raise Refusal("invalid", f"Required field {name} cannot be null")
        days = self.engine.execute(f"SELECT DISTINCT {table.partition_id} FROM incoming").fetchall()
        if partition and {day for (day,) in days} - {partition}:
            raise Refusal("invalid", "Some rows belong to different partitions rather than destination partition")

    def partitions(self, project: str, dataset: str) -> list[tuple[str, str, int, int]]:
        """Table, partition, rows and bytes of every partition that has rows."""
        found = []
        for name, table in self.tables(project, dataset).items():
            sql = f"SELECT {table.partition_id} AS day, count(*) FROM {table.sql_name} GROUP BY ALL ORDER BY ALL"
            width = 8 * len(table.columns)
            found += [(name, day, rows, width * rows) for day, rows in self.engine.execute(sql).fetchall()]
        return found


def where(table: Table, partition: str) -> str:
    """Condition that picks a partition; none for a whole table."""
    return f" WHERE {table.partition_id} = '{partition}'" if partition else ""
