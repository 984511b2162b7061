"""The bytes of an FCS file, plain or gzipped, and the errors that name it."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellprec.errors import FileFormatError, InputError

GZIP_MAGIC = b"\x1f\x8b"


class FcsSource:
    """Where the bytes come from: offsets count from the start of the data set that is read."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.base = 0
        self._bytes: bytes | None = None
        try:
            with self.path.open("rb") as handle:
                zipped = handle.read(2) == GZIP_MAGIC
            self._size = self.path.stat().st_size
        except OSError as error:
            what = "the FCS file does not exist" if not self.path.exists() else "the FCS file cannot be opened"
            fix = "Check the path in samples.csv, and that you may read the file."
            raise InputError(what, where=self.path, why=str(error), fix=fix) from error
        if zipped:
            self._bytes = self._unzip()
            self._size = len(self._bytes)

    @property
    def size(self) -> int:
        """Bytes from the start of this data set to the end of the file."""
        return self._size - self.base

    def read(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset`` on: fewer where the file ends."""
        if count <= 0 or not 0 <= offset < self.size:
            return b""
        count = min(count, self.size - offset)
        if self._bytes is not None:
            return self._bytes[self.base + offset : self.base + offset + count]
        with self.path.open("rb") as handle:
            handle.seek(self.base + offset)
            return handle.read(count)

    def array(self, offset: int, *, dtype: Any, count: int) -> NDArray[Any]:
        """Return ``count`` items of ``dtype`` from ``offset`` on, as an array that may be written to."""
        if self._bytes is not None:
            return np.frombuffer(self._bytes, dtype=dtype, count=count, offset=self.base + offset).copy()
        return np.fromfile(self.path, dtype=dtype, count=count, offset=self.base + offset)

    def error(self, what: str, *, why: str = "", fix: str = "") -> FileFormatError:
        """Make the error that names this file."""
        fix = fix or "Export the file again from the cytometer software or copy it again from its source."
        return FileFormatError(what, where=self.path, why=why, fix=fix)

    def _unzip(self) -> bytes:
        try:
            with gzip.open(self.path, "rb") as handle:
                return handle.read()
        except (OSError, EOFError, zlib.error) as error:
            raise self.error("the gzip file is damaged or cut short", why=str(error)) from error
