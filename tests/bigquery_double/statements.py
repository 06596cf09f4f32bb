"""Queries: BigQuery's SQL translated to DuckDB's, with the partition filter, the byte limit and the result's cells."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlglot
from sqlglot import exp

from tests.bigquery_double.refusals import Json, Refusal

if TYPE_CHECKING:
    from tests.bigquery_double.catalogue import Catalogue, Table

LEAST_BILLED = 10 << 20
BYTES_OF_A_CELL = 8


class Statement:
    """One SELECT, translated; what it would read is known before it runs."""

    def __init__(self, catalogue: Catalogue, project: str, query: Json) -> None:
        self._engine = catalogue.engine
        try:
            tree = sqlglot.parse_one(query["query"], dialect="bigquery")
        except sqlglot.errors.SqlglotError as error:
            raise Refusal("invalidQuery", f"Syntax error: {error}") from error
        if not isinstance(tree, exp.Select) or any(
            not isinstance(x.parent, exp.Count) for x in tree.find_all(exp.Star)
        ):
            raise Refusal("invalidQuery", "only SELECT of named columns is modelled")
        given = {item["name"]: parameter(item) for item in query.get("queryParameters", [])}
        used = {node.name for node in tree.find_all(exp.Parameter)}
        if not used <= given.keys():
            raise Refusal("invalidQuery", f"Query parameter {sorted(used - given.keys())} not found")
        self._parameters = {name: value for name, value in given.items() if name in used}
        self.bytes = 0
        for node in list(tree.find_all(exp.Table)):
            if node.db:
                self._place(catalogue, project, tree, node)
        self._sql = tree.transform(exact).sql(dialect="duckdb")
        limit = query.get("maximumBytesBilled")
        if limit is not None and self.bytes and max(self.bytes, LEAST_BILLED) > int(limit):
            message = f"Query exceeded limit for bytes billed: {limit}. {self.bytes} or higher required."
            raise Refusal("bytesBilledLimitExceeded", message)

    def _place(self, catalogue: Catalogue, project: str, tree: exp.Select, node: exp.Table) -> None:
        path = ".".join(part.name for part in node.parts)
        if path.endswith(".INFORMATION_SCHEMA.PARTITIONS"):
            found = catalogue.partitions(*path.split(".")[:2])
            node.replace(exp.select("*").from_(partitions_relation(found)).subquery("partitions"))
            return
        table = catalogue.table(node.catalog or project, node.db, node.name)
        predicates = self._partition_filter(node, table)
        if table.resource.get("requirePartitionFilter") and not predicates:
            message = f"Cannot query over table '{node.db}.{node.name}' without a filter over column(s) "
            raise Refusal("invalidQuery", f"{message}'{table.partition_column}' that can be used for elimination")
        names = {column["name"] for column in table.columns}
        columns = {column.name for column in tree.find_all(exp.Column)} & names
        self.bytes += BYTES_OF_A_CELL * len(columns) * self._pruned_rows(table, predicates)
        name = table.sql_name.replace('"."', '"|"').strip('"').split('"|"')
        node.replace(exp.to_table(exp.table_(name[1], db=name[0], quoted=True), alias=node.alias or None))

    def _partition_filter(self, node: exp.Table, table: Table) -> list[exp.Expr]:
        """Return the conditions of the table's own SELECT on the partition column alone."""
        select = node.find_ancestor(exp.Select)
        where = select.args.get("where") if select else None
        if where is None:
            return []
        conditions = where.this.flatten() if isinstance(where.this, exp.And) else [where.this]
        return [
            condition
            for condition in conditions
            if {column.name for column in condition.find_all(exp.Column)} == {table.partition_column}
        ]

    def _pruned_rows(self, table: Table, predicates: list[exp.Expr]) -> int:
        condition = exp.and_(exp.true(), *(predicate.copy() for predicate in predicates))
        used = {node.name for node in condition.find_all(exp.Parameter)}
        days = f"SELECT {table.partition_id} FROM {table.sql_name} WHERE {condition.sql(dialect='duckdb')}"
        sql = f"SELECT count(*) FROM {table.sql_name} WHERE {table.partition_id} IN ({days})"
        values = {name: self._parameters[name] for name in used}
        return int(self._engine.execute(sql, values).fetchall()[0][0])

    def run(self) -> pa.Table:
        return self._engine.sql(self._sql, params=self._parameters).to_arrow_table()


def exact(node: exp.Expr) -> exp.Expr:
    """Put right what the translation would round: written numbers are INT64 and FLOAT64, and times whole numbers."""
    if isinstance(node, exp.UnixToTime):
        return exp.func("MAKE_TIMESTAMP", node.this.copy().transform(exact))
    if isinstance(node, exp.Literal) and not node.is_string:
        return exp.cast(node.copy(), "BIGINT" if node.is_int else "DOUBLE")
    return node


def partitions_relation(found: list[tuple[str, str, int, int]]) -> exp.Expression:
    rows = [exp.tuple_(*(exp.convert(value) for value in row)) for row in found]
    names = ["table_name", "partition_id", "total_rows", "total_logical_bytes"]
    if not rows:
        empty = exp.select(*(exp.alias_(exp.cast(exp.null(), "VARCHAR"), name) for name in names)).where("FALSE")
        return empty.subquery("p")
    return exp.Values(expressions=rows, alias=exp.TableAlias(this=exp.to_identifier("p"), columns=names_of(names)))


def names_of(names: list[str]) -> list[exp.Identifier]:
    return [exp.to_identifier(name) for name in names]


def parameter(item: Json) -> Any:  # noqa: ANN401 - whatever DuckDB binds
    """Return the value of a query parameter as DuckDB takes it."""
    kind, value = item["parameterType"], item["parameterValue"]
    if kind["type"] == "ARRAY":
        return [scalar(kind["arrayType"]["type"], entry["value"]) for entry in value.get("arrayValues", [])]
    return scalar(kind["type"], value["value"])


def scalar(kind: str, text: str) -> int | str | datetime:
    if kind == "INT64":
        return int(text)
    if kind == "TIMESTAMP":
        return datetime.fromisoformat(text.replace(" UTC", "+00:00")).astimezone(UTC).replace(tzinfo=None)
    if kind == "STRING":
        return text
    raise Refusal("invalid", f"parameters of type {kind} are not modelled")


def cells(table: pa.Table) -> list[Json]:
    """Rows as `tabledata.list` and `getQueryResults` give them: text, timestamps in microseconds."""
    columns = []
    for column in table.columns:
        if pa.types.is_timestamp(column.type):
            columns.append(texts(pc.cast(pc.cast(column, pa.timestamp("us")), pa.int64()).to_pylist()))
        else:
            columns.append(texts(column.to_pylist()))
    return [{"f": [{"v": cell} for cell in row]} for row in zip(*columns, strict=True)]


def texts(values: list[Any]) -> list[str | None]:
    return [None if value is None else text_of(value) for value in values]


def text_of(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return repr(value) if isinstance(value, float) else str(value)


def schema_of(table: pa.Table) -> Json:
    def kind(of: pa.DataType) -> str:
        if pa.types.is_integer(of) or pa.types.is_decimal(of):
            return "INTEGER"
        if pa.types.is_floating(of):
            return "FLOAT"
        return "STRING"

    return {"fields": [{"name": field.name, "type": kind(field.type), "mode": "NULLABLE"} for field in table.schema]}
