"""Batches of Arrow data made into what a Domo schema asks for, with nothing lost on the way.

Columns are found by name: as written, else without regard to upper and lower case. Then, by the type of the DataSet:

    STRING    takes everything in its text form
    LONG      takes integers, and floats and decimals that are whole
    DOUBLE    takes all numbers, as they are; those from 2⁵³ on only if a float has their digits
    DECIMAL   takes all numbers; floats by their shortest decimal form
    DATE      takes dates, and timestamps at midnight
    DATETIME  takes timestamps and dates
    Text is parsed into all of them (ISO 8601 for times; spaces around it do not count); empty text is then NULL.

And for the values:

    NaN is NULL. Infinity is refused. Floats have the fewest digits that tell them from others of their width.
    Timestamps with a zone are moved to UTC, or to `time_zone`, and written without it; those without are not touched.
    Fractions of seconds are kept to microseconds; finer ones are cut off (towards the past).
    Times that become text have as many digits of a second as they need themselves, whatever stands beside them.
    Years are 1 to 9999. Text is UTF-8.

What does not fit raises InvalidDataError, which names column and row but never the value.
"""

# Arrow brings no types.
# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false

from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from domokit.bulk.decimals import check_size, number_of
from domokit.bulk.schema import Column, Schema, SchemaDiff
from domokit.bulk.times import PER_SECOND, iso_durations, moved, shortest, to_micros, without_zeros
from domokit.bulk.types import DECIMAL, is_text, plain_type
from domokit.errors import InvalidDataError, InvalidInputError, SchemaMismatchError

WIDE_DECIMAL = pa.decimal256(76, 38)
# Up to this many digits after the point Arrow never writes an exponent.
PLAIN_SCALE = 6
_SAFE_INTEGER = 2.0**53  # up to here a float holds every integer

_INTO = {
    "STRING": {"LONG", "DOUBLE", "DECIMAL", "DATE", "DATETIME"},
    "LONG": {"DOUBLE", "DECIMAL", "STRING"},
    "DOUBLE": {"LONG", "DECIMAL", "STRING"},
    "DECIMAL": {"LONG", "DOUBLE", "STRING"},
    "DATE": {"DATETIME", "STRING"},
    "DATETIME": {"DATE", "STRING"},
}
_HAS_ZONE = r"\d\d:\d\d.*(Z|[+-]\d\d(:?\d\d)?)$"
_FIRST = -62_135_596_800  # 0001-01-01T00:00:00 in seconds since 1970
_LAST = 253_402_300_799  # 9999-12-31T23:59:59

# pyarrow's arrays are generic in its stubs and not at run time.
Values = Any


def is_convertible(column: Column, target: str) -> bool:
    """Whether data of this column may go into one of another Domo type. The values decide: see the module."""
    return column.type == target or (target in _INTO.get(column.type, ()) and not column.holds)


def check(data: Schema, target: Schema) -> SchemaDiff:
    """How the columns of the data really differ from those of a DataSet: without what is converted.

    Differences of upper and lower case count as none. Types that can be converted are no difference either; a value
    that then does not fit (such as 1.5 for a LONG) raises InvalidDataError when it is met.
    """
    found = {one.name: source for one, source in _pairs(data, target)}
    taken = {source.name for _, source in _pairs(data, target)}
    places = {name: place for place, name in enumerate(data.names)}
    order = [places[source.name] for _, source in _pairs(data, target)]
    return SchemaDiff(
        added=tuple(one for one in data if one.name not in taken),
        removed=tuple(one for one in target if one.name not in found),
        changed=tuple(
            (one.name, one.type, f"{source.type} of {source.holds}" if source.holds else source.type)
            for one in target
            if (source := found.get(one.name)) is not None and not is_convertible(source, one.type)
        ),
        is_reordered=order != sorted(order),
    )


def typed_as(data: Schema, wanted: Schema) -> Schema:
    """The columns of the data, with the types that are wanted wherever they can be converted."""
    types = {source.name: one.type for one, source in _pairs(data, wanted) if is_convertible(source, one.type)}
    return Schema(
        one if types.get(one.name, one.type) == one.type else Column(one.name, types[one.name]) for one in data
    )


def check_time_zone(time_zone: str | None) -> None:
    """Raises InvalidInputError unless it is None or the IANA name of a time zone that Arrow can find."""
    if time_zone is not None:
        try:
            if not time_zone:
                raise pa.ArrowInvalid
            moved(pa.array([0], pa.timestamp("s", "UTC")), time_zone)
        except pa.ArrowException:
            raise InvalidInputError(
                f"{time_zone!r} is no time zone that is known here", hint="Pass an IANA name, such as 'Europe/Berlin'."
            ) from None


def convert(
    batch: pa.RecordBatch,
    schema: Schema,
    *,
    time_zone: str | None = None,
    first_row: int = 1,
    fill: bool = False,
) -> pa.RecordBatch:
    """The batch with the columns of `schema`, in its order; the Arrow types may differ from batch to batch.

    first_row:  the number of the batch's first row in the data, for errors.
    fill:       columns that the batch lacks are NULL.
    Raises: InvalidDataError, SchemaMismatchError if a column is missing or one too many.
    """
    places = _places(tuple(batch.schema.names), schema, fill=fill)
    columns = [
        pa.nulls(batch.num_rows, pa.string())
        if place is None
        else _converted(batch.column(place), one, time_zone, first_row)
        for one, place in zip(schema, places, strict=True)
    ]
    return pa.record_batch(columns, names=schema.names)


def fitted(
    values: Values, change: Callable[[Values], Values], name: str, what: str, first_row: int, hint: str = ""
) -> Any:
    """`change(values)`; if it fails, an InvalidDataError saying `what` of the first value that makes it fail."""
    try:
        return change(values)
    except (pa.ArrowException, ArithmeticError, ValueError, TypeError):
        pass  # the error of Arrow quotes the value
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            change(values[low:middle])
        except (pa.ArrowException, ArithmeticError, ValueError, TypeError):
            high = middle
        else:
            low = middle
    raise InvalidDataError(f"column {name!r}, row {first_row + low}: {what}", hint=hint)


def refuse(values: Values, bad: Values, name: str, what: str, first_row: int, hint: str = "") -> None:
    """Raises InvalidDataError for the first row where the mask `bad` is true."""
    if (at := pc.index(bad, pa.scalar(True)).as_py()) >= 0:
        raise InvalidDataError(f"column {name!r}, row {first_row + at}: {what}", hint=hint)


def settled(values: Values) -> Values:
    """The values themselves: no dictionary, no runs, no views, no extension type."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        plain = plain_type(kind)
        return settled(values.storage if plain == kind.storage_type else values.storage.cast(plain))
    if isinstance(kind, pa.DictionaryType):
        try:
            return settled(values.dictionary_decode())
        except pa.lib.ArrowIndexError:
            raise InvalidDataError("a dictionary column names a word that its dictionary has not") from None
    if isinstance(kind, pa.RunEndEncodedType):
        if isinstance(kind.value_type, pa.DictionaryType):  # which Arrow cannot decode by itself
            runs = pa.RunEndEncodedArray.from_arrays(values.run_ends, settled(values.values))
            values = runs.slice(values.offset, len(values))
        return settled(pc.run_end_decode(values))
    if pa.types.is_string_view(kind):
        try:
            return values.cast(pa.large_string())
        except pa.ArrowNotImplementedError:  # before pyarrow 18
            return pa.array(values.to_pylist(), pa.large_string())
    return values


def same_numbers(numbers: Values, floats: Values) -> Values:
    """A mask of where the float, in its shortest form, is exactly the number, given as text or decimal.

    Raises: pyarrow.ArrowInvalid where a number is beyond 38 digits on either side of the point.
    """
    return pc.equal(numbers.cast(WIDE_DECIMAL), floats.cast(pa.string()).cast(WIDE_DECIMAL))


def check_digits(numbers: Values, floats: Values, name: str, first_row: int, hint: str = "") -> None:
    """Refuses numbers from 2⁵³ on that are not what the float is, nor (but for integers) what it is written as.

    numbers:  integers, decimals or text.
    """
    largest = pc.max(pc.abs(floats)).as_py()
    if largest is None or largest < _SAFE_INTEGER:
        return
    doubtful = pc.greater_equal(pc.abs(floats), _SAFE_INTEGER)
    if not pa.types.is_integer(numbers.type):
        with suppress(pa.ArrowInvalid):  # where one is too long to be compared like that
            doubtful = pc.and_(doubtful, pc.invert(same_numbers(numbers, floats)))
    for place in pc.indices_nonzero(doubtful).to_pylist():
        number, near = numbers[place].as_py(), floats[place].as_py()
        if isinstance(number, str):
            number = number_of(number)
        is_same = number == Decimal(near) or (not isinstance(number, int) and number == Decimal(repr(near)))
        if number is not None and not is_same:
            what = "a number with more digits than a float can hold"
            raise InvalidDataError(f"column {name!r}, row {first_row + place}: {what}", hint=hint)


def _pairs(data: Schema, target: Schema) -> list[tuple[Column, Column]]:
    """(column of the target, column of the data), for those that are in both, in the order of the target."""
    exact = {one.name: one for one in data}
    folded: dict[str, Column | None] = {}
    for one in data:
        key = one.name.casefold()
        folded[key] = None if key in folded else one
    wanted = {one.name for one in target}
    pairs: list[tuple[Column, Column]] = []
    for one in target:
        found = exact.get(one.name)
        if found is None and (near := folded.get(one.name.casefold())) is not None and near.name not in wanted:
            found = near
        if found is not None:
            pairs.append((one, found))
    return pairs


@lru_cache(maxsize=64)
def _known_places(names: tuple[str, ...], schema: Schema, *, fill: bool) -> list[int | None]:
    data = Schema(Column(name, "STRING") for name in names)
    pairs = _pairs(data, schema)
    if len(pairs) != len(names) or (len(pairs) != len(schema) and not fill):
        diff = check(data, schema)
        raise SchemaMismatchError(
            f"a later batch of the data has other columns than the first: {diff}",
            diff=diff,
            hint="Give all of it the same columns; the first batch says which.",
        )
    at = {name: place for place, name in enumerate(names)}
    found = {one.name: at[source.name] for one, source in pairs}
    return [found.get(one.name) for one in schema]


def _places(names: tuple[str, ...], schema: Schema, *, fill: bool) -> Sequence[int | None]:
    return range(len(names)) if list(names) == schema.names else _known_places(names, schema, fill=fill)


def _converted(values: Values, column: Column, time_zone: str | None, first_row: int) -> Values:
    is_utf8 = _has_few_words(values) and _is_utf8(values.dictionary)
    values = settled(values)
    kind, types = values.type, pa.types
    if types.is_null(kind):
        return values.cast(pa.string())
    if is_text(kind):
        if not is_utf8:
            fitted(values, lambda part: part.validate(full=True), column.name, "text that is not UTF-8", first_row)
        if column.type == "STRING":
            return values
        values = _parsed(values, column, time_zone, first_row)
    elif types.is_floating(kind):
        values = _finite(values, column, first_row)
    elif types.is_timestamp(kind):
        values = _in_years(_without_zone(to_micros(values), column, time_zone, first_row), column, first_row)
    elif types.is_time(kind):
        values = _in_a_day(values, column, first_row)
    elif types.is_decimal(kind):
        values = _plain_decimals(values, column, first_row)
    elif types.is_date(kind):
        whole = "a time of day that a DATE cannot hold"
        values = fitted(
            _in_years(values, column, first_row), lambda part: part.cast(pa.date32()), column.name, whole, first_row
        )
    return _fit(values, column, first_row)


def _has_few_words(values: Values) -> bool:
    """Whether it costs less to look at the words of a dictionary than at the values."""
    return isinstance(values.type, pa.DictionaryType) and len(values.dictionary) < len(values)


def _is_utf8(texts: Values) -> bool:
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _fit(values: Values, column: Column, first_row: int) -> Values:
    """Values of one type into a column of another."""
    kind, types, name = values.type, pa.types, column.name
    match column.type:
        case "LONG" if types.is_integer(kind):
            if kind != pa.uint64():
                return values
            return fitted(values, lambda part: part.cast(pa.int64()), name, "an integer beyond 64 bits", first_row)
        case "LONG" if types.is_floating(kind) or types.is_decimal(kind):
            return fitted(values, lambda part: part.cast(pa.int64()), name, "not a whole number", first_row)
        case "DOUBLE" if types.is_integer(kind) or types.is_decimal(kind):
            if types.is_decimal(kind) or kind.bit_width == 64:
                check_digits(values, values.cast(pa.float64(), safe=False), name, first_row)
            return values
        case "DOUBLE" if types.is_floating(kind):
            return values
        case "DECIMAL" if types.is_integer(kind) or types.is_decimal(kind):
            return values
        case "DECIMAL" if types.is_floating(kind):
            return _plain_decimals(_decimals(values.cast(pa.string()), column, first_row), column, first_row)
        case "DATE" if types.is_date(kind):
            return values
        case "DATE" if types.is_timestamp(kind):
            days = values.cast(pa.date32(), safe=False)
            late = pc.not_equal(days.cast(kind), values)
            refuse(values, late, name, "a time of day that a DATE cannot hold", first_row)
            return days
        case "DATETIME" if types.is_timestamp(kind):
            return without_zeros(values)
        case "DATETIME" if types.is_date(kind):
            return values.cast(pa.timestamp("s"))
        case "STRING" if types.is_timestamp(kind) or types.is_time(kind):
            return shortest(values)
        case "STRING" if types.is_duration(kind):
            return iso_durations(values)
        case "STRING":
            return values
        case _:
            raise InvalidDataError(f"column {name!r} holds {kind}, which is nothing for {column.type}")


def _parsed(values: Values, column: Column, time_zone: str | None, first_row: int) -> Values:
    """Text as what the column is; empty text as NULL."""
    empty = pc.equal(values, "")
    if pc.any(empty).as_py():
        values = pc.if_else(empty, pa.scalar(None, values.type), values)
    what = f"text that is no {column.type}"

    def parse(part: Values) -> Values:
        try:
            return _parse(part, column.type, time_zone)
        except pa.ArrowInvalid:
            trimmed = pc.utf8_trim_whitespace(part)
            return _parse(pc.replace_substring_regex(trimmed, r"^\+(\d)", r"\1"), column.type, time_zone)

    parsed = fitted(values, parse, column.name, what, first_row)
    match column.type:
        case "DOUBLE":
            finite = _finite(parsed, column, first_row)
            check_digits(values, finite, column.name, first_row)
            return finite
        case "DATE" | "DATETIME":
            return _in_years(parsed, column, first_row)
        case "DECIMAL":
            return _plain_decimals(parsed, column, first_row)
        case _:
            return parsed


def _parse(texts: Values, kind: str, time_zone: str | None) -> Values:
    match kind:
        case "LONG":
            # Arrow reads 0x10 as 16.
            if any(pc.any(pc.match_substring(texts, x)).as_py() for x in "xX"):
                raise pa.ArrowInvalid
            return texts.cast(pa.int64())
        case "DOUBLE":
            return texts.cast(pa.float64())
        case "DECIMAL":
            return _parse_decimals(texts)
        case "DATE":
            return texts.cast(pa.date32())
        case _:
            try:
                return _parse_times(texts, None)
            except pa.ArrowInvalid:
                has_zone = pc.match_substring_regex(texts, _HAS_ZONE)
                none = pa.scalar(None, texts.type)
                aware = moved(_parse_times(pc.if_else(has_zone, texts, none), "UTC"), time_zone)
                naive = _parse_times(pc.if_else(has_zone, none, texts), None)
                return pc.coalesce(aware, naive)


def _parse_times(texts: Values, zone: str | None) -> Values:
    try:
        return texts.cast(pa.timestamp("us", zone))
    except pa.ArrowInvalid:
        # Digits beyond microseconds are cut off as text, for nanoseconds reach from 1677 to 2262 only.
        return pc.replace_substring_regex(texts, r"(\.\d{6})\d+", r"\1").cast(pa.timestamp("us", zone))


def _parse_decimals(texts: Values) -> Values:
    try:
        check_size(texts, DECIMAL)
        return texts.cast(DECIMAL)
    except pa.ArrowInvalid:
        check_size(texts, WIDE_DECIMAL)
        return texts.cast(WIDE_DECIMAL)


def _decimals(texts: Values, column: Column, first_row: int) -> Values:
    return fitted(texts, _parse_decimals, column.name, "a number with too many digits for DECIMAL", first_row)


def _finite(values: Values, column: Column, first_row: int) -> Values:
    """No NaN, no infinity."""
    if values.type == pa.float16():
        values = values.cast(pa.float32())
    if pc.all(pc.is_finite(values)).as_py() in (True, None):
        return values
    refuse(values, pc.is_inf(values), column.name, "infinity, which Domo has no spelling for", first_row)
    return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)


def _without_zone(values: Values, column: Column, time_zone: str | None, first_row: int) -> Values:
    kind = values.type
    if kind.tz is None:
        return values
    # Far out, the shift itself would wrap around.
    _in_years(values.view(pa.timestamp(kind.unit)), column, first_row, slack=86_400)
    return moved(values, time_zone)


def _in_years(values: Values, column: Column, first_row: int, *, slack: int = 0) -> Values:
    """Dates or timestamps, none of them outside of the years 1 to 9999 by more than `slack` seconds."""
    kind = values.type
    numbers = values.view(pa.int32() if kind == pa.date32() else pa.int64())
    if kind == pa.date32():
        low, high = _FIRST // 86_400, _LAST // 86_400
    else:
        scale = 1_000 if kind == pa.date64() else PER_SECOND[kind.unit]
        low, high = (_FIRST - slack) * scale, (_LAST + slack) * scale + scale - 1
    found = pc.min_max(numbers).as_py()
    if found["min"] is None or (found["min"] >= low and found["max"] <= high):
        return values
    bad = pc.or_(pc.less(numbers, low), pc.greater(numbers, high))
    refuse(values, bad, column.name, "a year that is not 1 to 9999", first_row)
    return values


def _in_a_day(values: Values, column: Column, first_row: int) -> Values:
    """Times of day, to microseconds, none of them beyond midnight."""
    unit = values.type.unit
    ticks = values.view(pa.int32() if unit in ("s", "ms") else pa.int64())
    bad = pc.or_(pc.less(ticks, 0), pc.greater_equal(ticks, 86_400 * PER_SECOND[unit]))
    refuse(values, bad, column.name, "a time beyond 24 hours", first_row)
    return values.cast(pa.time64("us"), safe=False) if unit == "ns" else values


def _plain_decimals(values: Values, column: Column, first_row: int) -> Values:
    """Decimals with no more digits after the point than they need, as far as a look at the type can tell."""
    kind = values.type
    if kind.scale < 0:
        whole = pa.decimal128 if kind.precision - kind.scale <= 38 else pa.decimal256
        return values.cast(whole(min(kind.precision - kind.scale, 76), 0))
    if kind.bit_width < 128:  # the CSV writer of Arrow does not know the small ones
        values, kind = values.cast(pa.decimal128(38, kind.scale)), pa.decimal128(38, kind.scale)
    if kind.scale > PLAIN_SCALE:
        try:
            narrow = pa.decimal128(38, PLAIN_SCALE) if kind.bit_width == 128 else pa.decimal256(76, PLAIN_SCALE)
            return values.cast(narrow)
        except pa.ArrowInvalid:
            return values
    return values
