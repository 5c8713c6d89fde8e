"""Whether numbers fit into an Arrow decimal, which Arrow itself does not always notice: it may wrap around."""

# Arrow brings no types.
# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false

from decimal import Decimal, InvalidOperation

import pyarrow as pa
import pyarrow.compute as pc


def check_size(texts: pa.ChunkedArray | pa.Array, kind: pa.DataType) -> None:
    """Raises ArrowInvalid for a text that is a number too large, or written too long, for the decimal type.

    Also for one that is no number, where that is seen.
    """
    room = kind.precision - kind.scale
    if not len(texts):
        return
    longest = pc.max(pc.binary_length(texts)).as_py() or 0
    if longest > kind.precision + len("-0."):
        raise pa.ArrowInvalid("too long")  # Arrow takes 1.000… for 0 when there are enough zeros
    has_exponent = pc.or_(pc.match_substring(texts, "e"), pc.match_substring(texts, "E"))
    if pc.any(has_exponent).as_py():
        if pc.any(pc.match_substring_regex(texts, r"[eE]-0*[1-9]\d{3}")).as_py():
            raise pa.ArrowInvalid("too small")  # Arrow does not survive 1e-999999999
    elif longest <= room:
        return
    limit = Decimal(10) ** room
    near = pc.greater_equal(pc.abs(texts.cast(pa.float64())), float(limit) * 0.999)
    for text in texts.filter(near).to_pylist():  # floats are too coarse to say
        number = number_of(text)
        if number is None or not number.copy_abs() < limit:
            raise pa.ArrowInvalid("too large")


def number_of(text: str) -> Decimal | None:
    """The number that a text is; None for any other text."""
    try:
        return Decimal(text.strip())
    except InvalidOperation:
        return None
