"""Domo's types and Arrow's."""

import pyarrow as pa
import pytest

from domokit.bulk.schema import Column, Schema
from domokit.bulk.types import arrow_schema, arrow_type, schema_of
from domokit.errors import InvalidDataError, InvalidInputError

TEXT = pa.string()


@pytest.mark.parametrize(
    ("kind", "domo"),
    [
        *((kind, "LONG") for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint64())),
        *((kind, "DOUBLE") for kind in (pa.float16(), pa.float32(), pa.float64())),
        *((kind, "DECIMAL") for kind in (pa.decimal128(10, 2), pa.decimal256(50, 10))),
        *((kind, "DATE") for kind in (pa.date32(), pa.date64())),
        *((pa.timestamp(unit, zone), "DATETIME") for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC")),
        *((kind, "STRING") for kind in (TEXT, pa.large_string(), pa.string_view(), pa.bool_(), pa.null())),
        *((kind, "STRING") for kind in (pa.time32("s"), pa.time64("us"), pa.duration("ns"))),
        (pa.dictionary(pa.int32(), TEXT), "STRING"),
        (pa.dictionary(pa.int8(), pa.int64()), "LONG"),
        (pa.run_end_encoded(pa.int32(), pa.date32()), "DATE"),
    ],
)
def test_types_of_arrow_have_one_of_domo(kind, domo):
    assert schema_of(pa.schema([("a", kind)])) == Schema([Column("a", domo)])


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(TEXT),
        pa.large_list(TEXT),
        pa.list_(TEXT, 2),
        pa.struct([("x", TEXT)]),
        pa.map_(TEXT, TEXT),
        pa.binary(),
        pa.large_binary(),
        pa.binary(16),
        pa.binary_view(),
        pa.month_day_nano_interval(),
        pa.dictionary(pa.int8(), pa.binary()),
    ],
    ids=str,
)
def test_what_domo_has_no_cell_for_is_refused_by_name(kind):
    with pytest.raises(InvalidDataError, match="'odd one'"):
        schema_of(pa.schema([("a", TEXT), ("odd one", kind)]))


@pytest.mark.parametrize("names", [[], ["a", "A"], ["a", "a"], [" "]])
def test_names_that_domo_cannot_have_are_refused(names):
    with pytest.raises(InvalidInputError):
        schema_of(pa.schema([(name, TEXT) for name in names]))


@pytest.mark.parametrize("domo", ["STRING", "LONG", "DOUBLE", "DECIMAL", "DATE", "DATETIME"])
def test_a_column_is_read_into_a_type_that_is_written_as_the_same(domo):
    assert schema_of(pa.schema([("a", arrow_type(domo))]))[0].type == domo


def test_a_type_that_is_not_known_is_read_as_text():
    assert arrow_type("INTEGER_OF_TOMORROW") == TEXT


def test_the_reader_may_choose_other_types():
    schema = Schema.of({"a": "LONG", "b": "DECIMAL"})
    assert arrow_schema(schema, {"b": pa.float64()}) == pa.schema([("a", pa.int64()), ("b", pa.float64())])
    assert arrow_schema(schema).field("b").type == pa.decimal128(38, 10)
