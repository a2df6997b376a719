"""The SQL of one collection: its table, indexes and statements, as text and rows; no database is touched here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from heartlink.store.backend import Collection, Document, KeyValue, Span

ROWS_PER_STATEMENT = 128
PARAMETERS_PER_STATEMENT = 999
SHAPES_CACHED = 64

Row = tuple[Any, ...]


class Table:
    """One collection as a table: columns ``id``, the declared keys, ``body``; the row number stays SQLite's own."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.keys = (*collection.text, *collection.integer)
        self.columns = ("id", *self.keys, "body")
        self.name = f'"{collection.name}"'
        self.most_rows = 1
        most = min(ROWS_PER_STATEMENT, PARAMETERS_PER_STATEMENT // len(self.columns))
        while self.most_rows * 2 <= most:
            self.most_rows *= 2
        self._list = ", ".join(f'"{column}"' for column in self.columns)
        assignments = ", ".join(f'"{column}" = ?' for column in self.columns[1:])
        excluded = ", ".join(f'"{column}" = excluded."{column}"' for column in self.columns[1:])
        self.update = f"update {self.name} set {assignments} where id = ?"
        self.upsert = f"{self.insert(1)} on conflict (id) do update set {excluded}"
        self.delete = f"delete from {self.name} where id = ?"
        self.get = f"select {self._list} from {self.name} where id = ?"
        self.scan = lru_cache(SHAPES_CACHED)(self._scan)
        self.insert_or_rollback = lru_cache(SHAPES_CACHED)(self._insert_or_rollback)

    def schema(self, existing_columns: Iterable[str]) -> list[str]:
        """The statements that make the table, or add what a newer HeartLink declares, and every index."""
        kinds = dict.fromkeys(self.collection.text, "text not null default ''")
        kinds |= dict.fromkeys(self.collection.integer, "integer not null default 0")
        have = set(existing_columns)
        if have:
            statements = [
                f'alter table {self.name} add column "{key}" {kind}' for key, kind in kinds.items() if key not in have
            ]
        else:
            declared = "".join(f'"{key}" {kind}, ' for key, kind in kinds.items())
            statements = [
                f"create table {self.name} (number integer primary key, id text not null unique, "
                f"{declared}body blob not null)"
            ]
        statements += [self._index(columns, "unique ") for columns in self.collection.unique]
        statements += [self._index((*columns, "id")) for columns in self.collection.indexes]
        return statements

    def row(self, document: Document) -> Row:
        """A document as the values of ``columns``."""
        keys = document.keys
        return (document.id, *[keys[key] for key in self.keys], document.body)

    def document(self, row: Row) -> Document:
        """The document that a row of ``columns`` holds."""
        return Document(row[0], dict(zip(self.keys, row[1:-1], strict=True)), row[-1])

    def insert(self, rows: int, conflict: str = "") -> str:
        """The statement that inserts a number of rows at once."""
        one = f"({', '.join('?' * len(self.columns))})"
        return f"insert {conflict}into {self.name} ({self._list}) values {', '.join([one] * rows)}"

    def get_many(self, count: int) -> str:
        """The select of several ids."""
        return f"select {self._list} from {self.name} where id in ({', '.join('?' * count)})"

    def where(self, keys: Iterable[str]) -> str:
        """The condition that each of these keys has a given value, to be put behind another one."""
        return "".join(f' and "{self._known(key)}" = ?' for key in keys)

    def select(self, equal: Mapping[str, KeyValue], span: Span | None, limit: int) -> tuple[str, Sequence[KeyValue]]:
        """A scan as its statement and its parameters."""
        values: list[KeyValue] = list(equal.values())
        if span is None:
            return self.scan(tuple(equal), "", False, False, False), [*values, limit]
        ends = [end for end in (span.above, span.below) if end is not None]
        shape = (span.key, span.above is not None, span.below is not None, span.descending)
        return self.scan(tuple(equal), *shape), [*values, *ends, limit]

    def _scan(self, equal: tuple[str, ...], key: str, above: bool, below: bool, descending: bool) -> str:
        conditions = [f'"{self._known(name)}" = ?' for name in equal]
        conditions += [f'"{self._known(key)}" > ?'] if above else []
        conditions += [f'"{self._known(key)}" < ?'] if below else []
        where = f" where {' and '.join(conditions)}" if conditions else ""
        turn = " desc" if descending else ""
        order = f'"{self._known(key)}"{turn}, id{turn}' if key else "id"
        return f"select {self._list} from {self.name}{where} order by {order} limit ?"

    def _insert_or_rollback(self, rows: int) -> str:
        return self.insert(rows, "or rollback ")

    def _index(self, columns: Sequence[str], unique: str = "") -> str:
        name = f"{self.collection.name}_by_{'_'.join(columns)}"
        listed = ", ".join(f'"{column}"' for column in columns)
        return f'create {unique}index if not exists "{name}" on {self.name} ({listed})'

    def _known(self, key: str) -> str:
        if key not in self.keys:
            raise ValueError(f"The collection {self.collection.name} has no key {key!r}.")
        return key
