"""The SQL of one collection: its table, indexes and statements, as text and rows; no database is touched here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from heartlink.store.backend import Collection, Document, KeyValue, Span, id_of

ROWS_PER_STATEMENT = 128
PARAMETERS_PER_STATEMENT = 999
SHAPES_CACHED = 64

Row = tuple[Any, ...]


class Table:
    """One collection as a table: ``id`` unless it is made of keys, the declared keys, ``body``.

    The rows stay in the order of their insertion: a new one goes to the end, whatever its id is.
    """

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.name = f'"{collection.name}"'
        self.keys = (*collection.text, *collection.integer)
        self.identity = collection.id_from or ("id",)
        own = () if collection.id_from else ("id",)
        self.columns = (*own, *self.keys, "body")
        self.most_rows = most_rows(len(self.columns))
        self._key_values = values_of(self.keys)
        self._list = ", ".join(f'"{column}"' for column in self.columns)
        self._by_id = " and ".join(f'"{column}" = ?' for column in self.identity)
        self._set = tuple(column for column in self.columns if column not in self.identity)
        assignments = ", ".join(f'"{column}" = ?' for column in self._set)
        excluded = ", ".join(f'"{column}" = excluded."{column}"' for column in self._set)
        target = ", ".join(f'"{column}"' for column in self.identity)
        self.update = f"update {self.name} set {assignments} where {self._by_id}"
        self.upsert = f"{self.insert(1)} on conflict ({target}) do update set {excluded}"
        self.delete = f"delete from {self.name} where {self._by_id}"
        self.get = f"select {self._list} from {self.name} where {self._by_id}"
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
            id = "" if self.collection.id_from else "id text not null unique, "
            declared = "".join(f'"{key}" {kind}, ' for key, kind in kinds.items())
            statements = [f"create table {self.name} (number integer primary key, {id}{declared}body blob not null)"]
        statements += [self._index(columns, "unique ") for columns in self.collection.unique]
        statements += [self._index((*columns, *self._after(columns))) for columns in self.collection.indexes]
        return statements

    def row(self, document: Document) -> Row:
        """A document as the values of ``columns``."""
        id, keys, body = document
        made_of = self.collection.id_from
        if made_of is None:
            return (id, *self._key_values(keys), body)
        if id != id_of(keys[made_of[0]], keys[made_of[1]]):  # type: ignore[arg-type]
            raise ValueError(f"The id {id!r} is not made of the keys {made_of}.")
        return (*self._key_values(keys), body)

    def changed(self, document: Document) -> Row:
        """The values that ``update`` takes: what is set, then the id."""
        keys = document.keys
        return (*[keys[key] for key in self._set[:-1]], document.body, *self.id_values(document.id))

    def id_values(self, id: str) -> Row:
        """An id as the values of ``identity``; no row has those of an id that cannot be."""
        if self.collection.id_from is None:
            return (id,)
        text, _, number = id.rpartition(":")
        if number.isascii() and number.isdecimal() and id_of(text, int(number)) == id:
            return (text, int(number))
        return (None, None)

    def document(self, row: Row) -> Document:
        """The document that a row of ``columns`` holds."""
        made_of = self.collection.id_from
        if made_of is None:
            return Document(row[0], dict(zip(self.keys, row[1:-1], strict=True)), row[-1])
        keys = dict(zip(self.keys, row[:-1], strict=True))
        return Document(id_of(keys[made_of[0]], keys[made_of[1]]), keys, row[-1])

    def insert(self, rows: int, conflict: str = "") -> str:
        """The statement that inserts a number of rows at once."""
        one = f"({', '.join('?' * len(self.columns))})"
        return f"insert {conflict}into {self.name} ({self._list}) values {', '.join([one] * rows)}"

    def get_many(self, count: int) -> str:
        """The select of several ids."""
        listed = ", ".join([f"({', '.join('?' * len(self.identity))})"] * count)
        columns = ", ".join(f'{self.name}."{column}"' for column in self.columns)
        same = " and ".join(
            f'{self.name}."{column}" = wanted.column{number}' for number, column in enumerate(self.identity, 1)
        )
        # A cross join keeps its order: each wanted id is looked up, whatever the planner thinks of the table's size.
        return f"select {columns} from (values {listed}) as wanted cross join {self.name} on {same}"

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
        order = [self._known(key), *self._after((key,))] if key else self.identity
        turn = " desc" if descending else ""
        ordered = ", ".join(f'"{column}"{turn}' for column in order)
        return f"select {self._list} from {self.name}{where} order by {ordered} limit ?"

    def _insert_or_rollback(self, rows: int) -> str:
        return self.insert(rows, "or rollback ")

    def _index(self, columns: Sequence[str], unique: str = "") -> str:
        name = f"{self.collection.name}_by_{'_'.join(columns)}"
        listed = ", ".join(f'"{column}"' for column in columns)
        return f'create {unique}index if not exists "{name}" on {self.name} ({listed})'

    def _after(self, columns: Sequence[str]) -> list[str]:
        return [column for column in self.identity if column not in columns]

    def _known(self, key: str) -> str:
        if key not in self.keys:
            raise ValueError(f"The collection {self.collection.name} has no key {key!r}.")
        return key


def most_rows(columns: int) -> int:
    """The largest power of two of rows that one statement takes."""
    most = min(ROWS_PER_STATEMENT, PARAMETERS_PER_STATEMENT // columns)
    return 1 << (most.bit_length() - 1)


def values_of(keys: tuple[str, ...]) -> Callable[[Mapping[str, KeyValue]], Sequence[KeyValue]]:
    """A fast way to the values of declared keys, in their order."""
    if len(keys) > 1:
        return itemgetter(*keys)
    return lambda given: [given[key] for key in keys]
