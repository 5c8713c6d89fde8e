"""Files: what they hold is found by `format`, else by the name, else by the first bytes.

A path is opened anew for every reading. A file object is read from where it stands, and is not closed; it must give
bytes. Both are repeatable, file objects only if they can seek; Parquet, which is read from its end, needs that. Text
is UTF-8, with or without a byte order mark.
"""

# Arrow brings no types.
# pyright: reportUnknownParameterType=false, reportAttributeAccessIssue=false

import io
import os
import reprlib
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from domokit.bulk.schema import Schema
from domokit.bulk.sources.base import Source, rows_at_once
from domokit.bulk.sources.csv import open_csv
from domokit.bulk.sources.ndjson import open_ndjson
from domokit.bulk.sources.text import MARK, filled, not_damaged
from domokit.bulk.types import schema_of
from domokit.errors import InvalidDataError, InvalidInputError

_FORMATS: Final = {
    "csv": "csv",
    "txt": "csv",
    "tsv": "tsv",
    "tab": "tsv",
    "ndjson": "ndjson",
    "jsonl": "ndjson",
    "parquet": "parquet",
    "pq": "parquet",
    "arrow": "arrow",
    "feather": "arrow",
    "ipc": "arrow",
    "arrows": "arrow",
}
_ROW_GROUP_BYTES = 8_000_000  # read at a time from Parquet, about


def open_file(
    data: Any,
    schema: Schema | None,
    time_zone: str | None,
    *,
    format: str | None,  # noqa: A002
    header: bool,
    delimiter: str | None,
) -> Source:
    """Raises: InvalidInputError for a file that is not there or of no known format, InvalidDataError."""
    file = File.of(data)
    kind = _format(file, format)
    try:
        match kind:
            case "csv" | "tsv":
                mark = delimiter or ("\t" if kind == "tsv" else ",")
                source = open_csv(file.open_text, schema, time_zone, header=header, delimiter=mark)
            case "ndjson":
                source = open_ndjson(file.open_text, schema, time_zone)
            case "parquet":
                source = _of_parquet(file)
            case _:
                source = _of_arrow(file)
    except (pa.ArrowException, OSError) as error:
        if not _is_of_data(error):
            raise
        raise InvalidDataError(f"this is no {kind} file that can be read ({type(error).__name__})") from None
    if kind in ("csv", "tsv") and not file.is_packed():
        source.nbytes = file.nbytes
    source.is_repeatable = file.is_repeatable
    file.begin()
    if kind in ("parquet", "arrow") and schema is not None:
        source = source.typed(schema, time_zone)
    return source


class File:
    """A path, a binary file object or bytes, as something to open more than once.

    begin:  to be called when enough was looked at: what cannot be opened again is from then on read to its end.
    """

    def __init__(
        self, name: str, open_it: Callable[[], Any], nbytes: int | None, begin: Callable[[], None] | None = None
    ) -> None:
        self.name = name
        self.open = open_it
        self.nbytes = nbytes
        self.is_repeatable = begin is None
        self.begin = begin or (lambda: None)

    @classmethod
    def of(cls, data: Any) -> "File":
        if isinstance(data, (bytes, bytearray, memoryview)):
            content = pa.py_buffer(data)
            return cls("", lambda: pa.BufferReader(content), content.size)
        if isinstance(data, (str, os.PathLike)):
            return cls._of_path(Path(os.fsdecode(data)))
        return cls._of_object(data)

    @classmethod
    def _of_path(cls, path: Path) -> "File":
        hint = ""
        try:
            facts = path.stat()
            if stat.S_ISREG(facts.st_mode):
                path.open("rb").close()
                return cls(path.name, lambda: pa.OSFile(str(path)), facts.st_size)
            reason = "is no file"
            if path.is_dir():
                reason, hint = "is a directory", "For a directory, pass pyarrow.dataset.dataset(path)."
        except FileNotFoundError:
            reason = "is not there"
        except (OSError, ValueError) as error:
            reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise InvalidInputError(f"the file {reprlib.repr(str(path))} {reason}", hint=hint)

    @classmethod
    def _of_object(cls, data: Any) -> "File":
        if isinstance(data, io.TextIOBase):
            raise InvalidInputError("the file is open as text", hint="Open it as bytes: open(path, 'rb').")
        if getattr(data, "closed", False) is True:
            raise InvalidInputError("the file is closed")
        if getattr(data, "readable", lambda: True)() is False:
            raise InvalidInputError("the file is not open for reading", hint="Open it with open(path, 'rb').")
        name = getattr(data, "name", "")
        name = os.path.basename(name) if isinstance(name, str) else ""
        if getattr(data, "seekable", lambda: False)():
            start = data.tell()

            def again() -> Any:
                data.seek(start)
                return pa.PythonFile(_Borrowed(data, start), mode="r")

            return cls(name, again, None)
        once = _Peeked(data)
        return cls(name, once.restarted, None, once.begin)

    def head(self, size: int = 8) -> bytes:
        stream = self.open()
        try:
            return filled(stream, size)
        finally:
            stream.close()

    def is_packed(self) -> bool:
        return self.head(2) == b"\x1f\x8b"

    def open_text(self) -> Any:
        """The bytes of a text file, decompressed if they are gzip."""
        return pa.CompressedInputStream(self.open(), "gzip") if self.is_packed() else self.open()

    def check_can_seek(self) -> None:
        if not self.is_repeatable:
            raise InvalidInputError(
                "a file of this format is read from its end, and this one cannot seek",
                hint="Write it to a file and pass that, or pass the bytes.",
            )


class _Borrowed(io.RawIOBase):
    """A seekable file object of somebody else: stays open, and begins where it stood when it was handed over."""

    def __init__(self, file: Any, start: int) -> None:
        self._file = file
        self._start = start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return _bytes(self._file.read(size))

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset + self._start if whence == 0 else offset, whence) - self._start

    def tell(self) -> int:
        return self._file.tell() - self._start


class _Peeked(io.RawIOBase):
    """A file object that cannot seek: what is read before the real reading begins is kept and given again."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._kept: bytearray | None = bytearray()  # None: the real reading has gone beyond it
        self._is_begun = False
        self._at = 0

    def begin(self) -> None:
        self._is_begun = True

    def restarted(self) -> Any:
        if self._kept is None:
            raise InvalidInputError("this file can be read only once, and it was")
        self._at = 0
        return pa.PythonFile(_Unclosed(self), mode="r")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        kept = self._kept
        if kept is None:
            return _bytes(self._file.read(size))
        if self._at < len(kept):
            found = bytes(kept[self._at : len(kept) if size < 0 else self._at + size])
            self._at += len(found)
            return found
        fresh = _bytes(self._file.read(size))
        if self._is_begun and fresh:
            self._kept = None
        else:
            kept += fresh
            self._at = len(kept)
        return fresh


class _Unclosed:
    """Passes reads on, and keeps a close to itself."""

    closed = False

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def readable(self) -> bool:
        return True

    def close(self) -> None: ...


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        raise InvalidInputError("the file is open as text", hint="Open it as bytes: open(path, 'rb').")
    return b"" if value is None else bytes(value)


def _format(file: File, format: str | None) -> str:  # noqa: A002
    if format is not None:
        if (found := _FORMATS.get(format.lower().removeprefix("."))) is None:
            raise InvalidInputError(f"{format!r} is no known format", hint=f"Pass one of {', '.join(_FORMATS)}.")
        return found
    suffixes = [one.lower()[1:] for one in Path(file.name).suffixes]
    if suffixes and suffixes[-1] in ("gz", "gzip"):
        suffixes.pop()
    if suffixes and (found := _FORMATS.get(suffixes[-1])):
        return found
    head = file.head()
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return "arrow"
    with not_damaged(), file.open_text() as text:
        start = filled(text, 1024).removeprefix(MARK).lstrip()
    if start.startswith(b"["):
        raise InvalidInputError(
            "this looks like one JSON array, which cannot be read piece by piece",
            hint="Write one object per line (JSON lines), or pass json.load(file). For CSV pass format='csv'.",
        )
    return "ndjson" if start.startswith(b"{") else "csv"


def _of_parquet(file: File) -> Source:
    import pyarrow.parquet as parquet  # slow to load

    file.check_can_seek()
    with parquet.ParquetFile(file.open()) as opened:
        facts, arrow = opened.metadata, opened.schema_arrow
        nbytes = sum(facts.row_group(group).total_byte_size for group in range(facts.num_row_groups))
    rows = rows_at_once(len(arrow))
    if nbytes:
        rows = max(1, min(rows, facts.num_rows * _ROW_GROUP_BYTES // nbytes))

    def read() -> Iterator[pa.RecordBatch]:
        # By default whole row groups are read ahead, and none of that is freed before the end.
        with parquet.ParquetFile(file.open(), pre_buffer=False, buffer_size=1 << 20) as opened:
            yield from opened.iter_batches(batch_size=rows, use_threads=False)

    return Source(schema_of(arrow), lambda: _sound(read()), rows=facts.num_rows, nbytes=nbytes)


def _of_arrow(file: File) -> Source:
    if file.head(6) != b"ARROW1":
        return _of_arrow_stream(file)
    file.check_can_seek()

    def read() -> Iterator[pa.RecordBatch]:
        with pa.ipc.open_file(file.open()) as opened:
            for place in range(opened.num_record_batches):
                yield opened.get_batch(place)

    with pa.ipc.open_file(file.open()) as opened:
        arrow = opened.schema
    return Source(schema_of(arrow), lambda: _sound(read()))


def _of_arrow_stream(file: File) -> Source:
    def read() -> Iterator[pa.RecordBatch]:
        with file.open() as stream:
            watched = _ToItsEnd(stream)
            with pa.ipc.open_stream(pa.PythonFile(watched, mode="r")) as opened:
                yield from opened
            if watched.is_over:
                raise InvalidDataError(
                    "the Arrow stream has no end mark, so it may have been cut off between two batches",
                    hint="If it is whole, pass pyarrow.ipc.open_stream(file).",
                )

    with file.open() as stream, pa.ipc.open_stream(pa.PythonFile(_ToItsEnd(stream), mode="r")) as opened:
        arrow = opened.schema
    return Source(schema_of(arrow), lambda: _sound(read()))


class _ToItsEnd(_Unclosed):
    """Gives as much as is asked for, and knows whether there was less, as is where a reader meets no end mark."""

    is_over = False

    def read(self, size: int = -1) -> bytes:
        found = filled(self._file, size)
        self.is_over = self.is_over or len(found) < size
        return found


def _sound(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    rows = 0
    try:
        for batch in batches:
            rows += batch.num_rows
            yield batch
    except (pa.ArrowException, OSError) as error:
        if not _is_of_data(error):
            raise
        raise InvalidDataError(f"the file is damaged, or cut off, after row {rows}") from None


def _is_of_data(error: Exception) -> bool:
    """Whether it is what the file holds that is wrong, and not the disk or the network."""
    return getattr(error, "errno", None) is None
