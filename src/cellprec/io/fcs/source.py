"""The bytes of an FCS file, plain or gzipped, and the errors that name it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from isal import igzip, isal_zlib

from cellprec.errors import FileFormatError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GZIP_MAGIC = b"\x1f\x8b"
UNREADABLE: tuple[type[Exception], ...] = (OSError, EOFError, isal_zlib.error)  # type: ignore[assignment]
BLOCK_BYTES = 1 << 20
# events never pack this well: measured values are noise in their last bits
BOMB_RATIO = 200
BOMB_BYTES = 64 << 20


class FcsSource:
    """Where the bytes come from: offsets count from the start of the data set that is read.

    A gzipped file is streamed: once to learn its length, then forward to what is read; it is never held unzipped.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.base = 0
        self._handle: Any = None
        try:
            self._handle = self.path.open("rb", buffering=0)
            zipped = self._handle.read(2) == GZIP_MAGIC
            self._size = os.fstat(self._handle.fileno()).st_size
            if zipped:
                self.close()
                self._handle = igzip.open(self.path, "rb")
        except OSError as error:
            what = "the FCS file does not exist" if not self.path.exists() else "the FCS file cannot be opened"
            fix = "Check the path in samples.csv, and that you may read the file."
            raise InputError(what, where=self.path, why=str(error), fix=fix) from error
        if zipped:
            self._size = self._unzipped()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._handle is not None:
            self._handle.close()

    @property
    def size(self) -> int:
        """Bytes from the start of this data set to the end of the file."""
        return self._size - self.base

    def read(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset`` on: fewer where the file ends."""
        # what a header claims is never allocated before it was held against the length of the file
        count = min(count, self.size - offset)
        if count <= 0 or offset < 0:
            return b""
        try:
            self._handle.seek(self.base + offset)
            pieces = [self._handle.read(count)]
            while pieces[-1] and (left := count - sum(map(len, pieces))):
                pieces.append(self._handle.read(left))
        except UNREADABLE as error:
            raise self._unreadable(error) from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def into(self, offset: int, out: NDArray[np.uint8]) -> None:
        """Fill ``out`` with the bytes from ``offset`` on; fewer than that is an error."""
        view = out.data
        try:
            self._handle.seek(self.base + offset)
            done = 0
            while done < len(view):
                got = self._handle.readinto(view[done:])
                if not got:
                    raise self.error("the file is cut short", why="it ended while its events were read")
                done += got
        except UNREADABLE as error:
            raise self._unreadable(error) from error

    def error(self, what: str, *, why: str = "", fix: str = "") -> FileFormatError:
        """Make the error that names this file."""
        fix = fix or "Export the file again from the cytometer software or copy it again from its source."
        return FileFormatError(what, where=self.path, why=why, fix=fix)

    def _unreadable(self, error: Exception) -> FileFormatError:
        what = "the file cannot be read to its end"
        if isinstance(self._handle, igzip.IGzipFile):
            what = "the gzip file is damaged or cut short"
        return self.error(what, why=str(error))

    def _unzipped(self) -> int:
        """Return the length of the unzipped file, which only reading it tells: the one gzip stores is modulo 2**32."""
        limit = max(BOMB_BYTES, BOMB_RATIO * self._size)
        buffer = bytearray(BLOCK_BYTES)
        size = 0
        try:
            while got := self._handle.readinto(buffer):
                size += got
                if size > limit:
                    raise self.error(
                        f"the gzip file unpacks to more than {BOMB_RATIO} times its size",
                        why=f"after {size:,} bytes from {self._size:,} there is no end; events do not pack that well",
                    )
        except UNREADABLE as error:
            raise self._unreadable(error) from error
        return size
