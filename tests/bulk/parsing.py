"""A strict reader of the CSV that Domo takes, written apart from the encoder: it tells NULL from empty text."""

import gzip


class NotStrict(Exception):
    """What Domo would refuse."""


def cells(body: bytes, columns: int, *, is_gzip: bool = True) -> list[tuple[str | None, ...]]:
    """The rows of a part: None for NULL (an empty or \\N cell without quotes), text for the rest."""
    text = (gzip.decompress(body) if is_gzip else body).decode("utf-8")
    rows: list[tuple[str | None, ...]] = []
    row: list[str | None] = []
    at, end = 0, len(text)
    while at < end:
        if text[at] == '"':
            cell, at = _quoted(text, at + 1)
            row.append(cell)
        else:
            stop = at
            while stop < end and text[stop] not in ',\n\r"':
                stop += 1
            plain = text[at:stop]
            at = stop
            row.append(None if plain in ("", "\\N") else plain)
        if at >= end:
            raise NotStrict("the last row does not end")
        if text[at] == ",":
            at += 1
            if at < end and text[at] == "\n":  # the cell after the last comma is empty
                row.append(None)
            else:
                continue
        if text[at] != "\n":
            raise NotStrict(f"{text[at]!r} after a cell")
        at += 1
        if columns == 1 and text[at - 2 : at] in ("\n", "\n\n") and row == [None]:
            raise NotStrict("a blank line")
        if len(row) != columns:
            raise NotStrict(f"{len(row)} cells")
        rows.append(tuple(row))
        row = []
    return rows


def _quoted(text: str, at: int) -> tuple[str, int]:
    found: list[str] = []
    while True:
        stop = text.index('"', at)
        found.append(text[at:stop])
        if text[stop + 1 : stop + 2] != '"':
            return "".join(found), stop + 1
        found.append('"')
        at = stop + 2
