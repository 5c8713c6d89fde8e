"""Arrow's timestamps, times of day and durations, as they are written into CSV."""

# Arrow brings no types.
# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}

# pyarrow's arrays are generic in its stubs and not at run time.
Values = Any


def to_micros(values: Values) -> Values:
    """Timestamps with no digits beyond microseconds: those are cut off, towards the past."""
    kind = values.type
    if kind.unit != "ns":
        return values
    target = pa.timestamp("us", kind.tz)
    try:
        return values.cast(target)
    except pa.ArrowInvalid:
        ticks = values.view(pa.int64())
        micros = pc.divide(ticks, 1_000)  # towards zero; floor_temporal fails near the first nanosecond there is
        is_past = pc.less(ticks, pc.multiply(micros, 1_000))
        return pc.subtract(micros, is_past.cast(pa.int64())).view(target)


def moved(values: Values, time_zone: str | None) -> Values:
    """Timestamps with a zone as what clocks show in this one, in UTC if it is None."""
    unit = values.type.unit
    if time_zone is None:
        return values.view(pa.timestamp(unit))
    return pc.local_timestamp(values.view(pa.timestamp(unit, time_zone)))


def without_zeros(values: Values) -> Values:
    """Timestamps or times of day in the coarsest unit that holds them all, which is how many digits are written."""
    is_time = pa.types.is_time(values.type)
    for unit in ("s", "ms", "us"):
        try:
            return values.cast(_clock(unit) if is_time else pa.timestamp(unit))
        except pa.ArrowInvalid:
            continue
    return values


def shortest(values: Values) -> Values:
    """The same as text, each with as many digits as it needs itself, for text is compared with text."""
    values = without_zeros(values)
    if values.type.unit == "s":
        return values
    return pc.ascii_rtrim(pc.ascii_rtrim(values.cast(pa.string()), "0"), ".")


def _clock(unit: str) -> pa.DataType:
    return pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)


def iso_durations(values: Values) -> Values:
    """'PT90.5S', '-PT90.5S'."""
    unit = values.type.unit
    digits = {"s": 0, "ms": 3, "us": 6, "ns": 9}[unit]
    ticks = values.view(pa.int64())
    seconds = pc.divide(ticks, PER_SECOND[unit])  # towards zero
    rest = pc.abs(pc.subtract(ticks, pc.multiply(seconds, PER_SECOND[unit])))
    text = pc.utf8_ltrim(seconds.cast(pa.string()), "-")  # abs would not do for the least of all
    if digits:
        fraction = pc.utf8_rtrim(pc.utf8_lpad(rest.cast(pa.string()), digits, "0"), "0")
        text = pc.if_else(pc.equal(rest, 0), text, pc.binary_join_element_wise(text, fraction, "."))
    sign = pc.if_else(pc.less(ticks, 0), "-PT", "PT")
    return pc.binary_join_element_wise(sign, text, "S", "")
