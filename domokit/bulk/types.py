"""Domo's types and Arrow's.

From Arrow to Domo (`schema_of`):

    integers                         LONG; an unsigned value above 2⁶³-1 is refused when it is met
    floats                           DOUBLE
    decimals                         DECIMAL
    text, dictionaries of text, JSON STRING
    booleans                         STRING: 'true' and 'false', for Domo has no boolean
    dates                            DATE
    timestamps                       DATETIME, without a zone; see `domokit.bulk.convert`
    times of day                     STRING: '17:05:00', '17:05:00.25', with the digits of a second that it needs
    durations                        STRING: 'PT90.5S', ISO 8601 in seconds
    nothing but nulls                STRING

Dictionaries and run-end encoded columns count as what they hold. Bytes, lists, structs, maps, intervals and
extension types that are not listed are refused: Domo has no cell for them.
"""

# Arrow brings no types.
# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false

from collections import Counter
from collections.abc import Mapping

import pyarrow as pa

from domokit.bulk.schema import Column, Schema
from domokit.errors import InvalidDataError, InvalidInputError

DECIMAL = pa.decimal128(38, 10)

_ARROW: Mapping[str, pa.DataType] = {
    "STRING": pa.string(),
    "LONG": pa.int64(),
    "DOUBLE": pa.float64(),
    "DECIMAL": DECIMAL,
    "DATE": pa.date32(),
    "DATETIME": pa.timestamp("us"),
}


def arrow_type(domo_type: str) -> pa.DataType:
    """What a column of this Domo type is read into; text for a type that is not known."""
    return _ARROW.get(domo_type, _ARROW["STRING"])


def arrow_schema(schema: Schema, types: Mapping[str, pa.DataType] | None = None) -> pa.Schema:
    """The Arrow schema to read these columns into; `types` says otherwise by column name.

    Raises: InvalidInputError for a name that is not among them.
    """
    chosen = types or {}
    if unknown := [name for name in chosen if name not in schema.names]:
        raise InvalidInputError(f"types names {unknown[0]!r}, and there is no such column")
    return pa.schema([(column.name, chosen.get(column.name, arrow_type(column.type))) for column in schema])


def schema_of(arrow: pa.Schema) -> Schema:
    """The Domo schema of Arrow data.

    Raises: InvalidDataError for a column of a type that Domo cannot hold, InvalidInputError for names it cannot.
    """
    if twice := sorted(name for name, count in Counter(arrow.names).items() if count > 1):
        raise InvalidInputError(f"there are several columns {twice[0]!r}", hint="Rename all of them but one.")
    return Schema.of([_column(field.name, field.type) for field in arrow])


def _column(name: str, kind: pa.DataType) -> Column:
    domo, plain = domo_type(kind, name), plain_type(kind)
    is_other = domo == "STRING" and not is_text(plain) and not pa.types.is_null(plain)
    return Column(name, domo, holds=str(plain) if is_other else "")


def domo_type(kind: pa.DataType, name: str) -> str:
    """The Domo type of an Arrow type; `name` is for the text of the InvalidDataError."""
    kind = plain_type(kind)
    types = pa.types
    if types.is_integer(kind):
        return "LONG"
    if types.is_floating(kind):
        return "DOUBLE"
    if types.is_decimal(kind):
        return "DECIMAL"
    if types.is_date(kind):
        return "DATE"
    if types.is_timestamp(kind):
        return "DATETIME"
    if is_text(kind) or types.is_boolean(kind) or types.is_null(kind) or types.is_time(kind) or types.is_duration(kind):
        return "STRING"
    if types.is_nested(kind):
        raise InvalidDataError(
            f"column {name!r} holds {kind}, and Domo has no lists or objects in a cell",
            hint="Encode the values as JSON text, or make columns of their parts.",
        )
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        raise InvalidDataError(
            f"column {name!r} holds bytes, and Domo has only text", hint="Decode the bytes, or encode them as base64."
        )
    raise InvalidDataError(f"column {name!r} holds {kind}, which Domo has no type for", hint="Turn it into text.")


def is_text(kind: pa.DataType) -> bool:
    # String views came with pyarrow 16.
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values themselves, without dictionaries, run ends and the extensions that are understood."""
    if isinstance(kind, pa.DictionaryType):
        return plain_type(kind.value_type)
    if isinstance(kind, pa.RunEndEncodedType):
        return plain_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name == "arrow.json":
            return plain_type(kind.storage_type)
        if kind.extension_name == "arrow.bool8":
            return pa.bool_()
    return kind
