"""Names of events that are spelled only when somebody reads them: ``P01:0``, ``P01:1`` and so on.

Two million Python strings take 145 MB, and the hash table that proves them unique takes most of a second: more than the
events of an FCS file themselves. Here a sample keeps its prefix once and the numbers of its rows.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Self

import h5py
import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray
from pandas.api.extensions import ExtensionArray, ExtensionDtype, register_extension_dtype

try:
    # anndata has no public way to say how an array is written, pandas none to lend it ``.str``
    from anndata._io.specs.registry import _REGISTRY, IOSpec
    from pandas.core.strings.object_array import ObjectStringArrayMixin  # type: ignore[import-not-found]
except ImportError:  # in releases to come they may be elsewhere: names are plain strings then, right and slow
    _REGISTRY, ObjectStringArrayMixin = None, object

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterator, Sequence

NO_ROW = -1


def event_names(prefix: str, rows: range | NDArray[np.integer[Any]]) -> pd.Index:
    """Return the names of the events of one sample as an index of strings.

    prefix: what stands before the number (``P01:``). rows: the numbers of the rows in the file, each once.

    The index behaves like one of plain strings: look-up by name, slices, joins, ``.str``, h5ad and zarr. Joined with
    names of another sample it becomes one.

    >>> names = event_names("P01:", range(3))
    >>> names[1], names.get_loc("P01:2"), "P01:3" in names
    ('P01:1', 2, False)
    """
    if _REGISTRY is None:
        return pd.Index([f"{prefix}{row}" for row in rows], dtype=object)
    return pd.Index(EventNames(prefix, rows))


@register_extension_dtype
class EventNameDtype(ExtensionDtype):
    """Strings that begin with one prefix and end in the number of a row."""

    type = str
    kind = "O"
    _metadata = ("prefix",)

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name by which pandas shows the type."""
        return f"event_name[{self.prefix}]"

    @classmethod
    def construct_array_type(cls) -> builtins.type[EventNames]:
        """Return the array that holds such names."""
        return EventNames

    @classmethod
    def construct_from_string(cls, string: str) -> Self:
        """Read the name of the type back."""
        if isinstance(string, str) and string.startswith("event_name[") and string.endswith("]"):
            return cls(string.removeprefix("event_name[")[:-1])
        raise TypeError(f"Cannot construct an {cls.__name__!r} from {string!r}")

    def __eq__(self, other: object) -> bool:
        # pandas and anndata ask a type whether it is "string": names are
        return other == "string" if isinstance(other, str) and other == "string" else super().__eq__(other)

    def __hash__(self) -> int:
        return super().__hash__()

    def _get_common_dtype(self, dtypes: list[Any]) -> Any:
        same = all(isinstance(dtype, EventNameDtype) and dtype.prefix == self.prefix for dtype in dtypes)
        return self if same else np.dtype(object)


class EventNames(ObjectStringArrayMixin, ExtensionArray):  # type: ignore[misc]  # pandas types neither
    """The names of the events of one sample: a prefix and row numbers, -1 where a name is missing."""

    def __init__(self, prefix: str, rows: range | NDArray[np.integer[Any]]) -> None:
        self._dtype = EventNameDtype(prefix)
        self._rows = rows

    @classmethod
    def _from_sequence(cls, scalars: Sequence[Any], *, dtype: Any = None, copy: bool = False) -> Self:
        del copy
        if isinstance(scalars, cls) and (dtype is None or dtype == scalars.dtype):
            return cls(scalars.dtype.prefix, scalars.numbers().copy())
        if not isinstance(dtype, EventNameDtype):
            raise TypeError(f"{cls.__name__} needs to know the prefix of its names")
        rows = [NO_ROW if pd.isna(name) else _row(dtype.prefix, name) for name in scalars]
        if None in rows:
            raise TypeError(f"a name does not consist of {dtype.prefix!r} and the number of a row")
        return cls(dtype.prefix, np.array(rows, dtype=np.int64))

    @classmethod
    def _from_factorized(cls, values: NDArray[Any], original: EventNames) -> Self:
        return cls(original.dtype.prefix, values)

    @classmethod
    def _concat_same_type(cls, to_concat: Sequence[EventNames]) -> Self:
        return cls(to_concat[0].dtype.prefix, np.concatenate([names.numbers() for names in to_concat]))

    @property
    def dtype(self) -> EventNameDtype:
        """The type, which knows the prefix."""
        return self._dtype

    @property
    def nbytes(self) -> int:
        """The memory the names take as they are."""
        return 0 if isinstance(self._rows, range) else int(self._rows.nbytes)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Any]:
        prefix = self._dtype.prefix
        rows = self._rows if isinstance(self._rows, range) else self._rows.tolist()
        if self._whole():
            return (f"{prefix}{row}" for row in rows)
        return (f"{prefix}{row}" if row >= 0 else np.nan for row in rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        del copy
        names = np.empty(len(self), dtype=object)
        names[:] = list(self)
        return names if dtype is None else names.astype(dtype, copy=False)

    def __getitem__(self, item: Any) -> Any:
        item = pd.api.indexers.check_array_indexer(self, item)
        if isinstance(item, int | np.integer):
            row = self._rows[item]
            return f"{self._dtype.prefix}{row}" if row >= 0 else np.nan
        if isinstance(item, slice):
            return type(self)(self._dtype.prefix, self._rows[item])
        if isinstance(item, np.ndarray) and item.dtype == bool and item.all():
            return type(self)(self._dtype.prefix, self._rows)
        return type(self)(self._dtype.prefix, self.numbers()[item])

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError("names of events cannot be changed one by one: make strings of them first, with astype(object)")

    def _maybe_convert_setitem_value(self, value: Any) -> Any:
        # pandas asks this before it makes plain strings of an index in which a name is replaced
        raise TypeError(f"{value!r} is not one of these names")

    def __eq__(self, other: object) -> Any:
        if isinstance(other, pd.Series | pd.DataFrame | pd.Index):
            return NotImplemented
        if isinstance(other, str):
            row = _row(self._dtype.prefix, other)
            return np.zeros(len(self), dtype=bool) if row is None else self.numbers() == row
        if isinstance(other, EventNames) and other.dtype == self.dtype and len(self) == len(other):
            return (self.numbers() == other.numbers()) & ~self.isna()
        return np.asarray(self) == (np.asarray(other, dtype=object) if pd.api.types.is_list_like(other) else other)

    def __lt__(self, other: Any) -> Any:
        return self._as_strings(operator.lt, other)

    def __le__(self, other: Any) -> Any:
        return self._as_strings(operator.le, other)

    def __gt__(self, other: Any) -> Any:
        return self._as_strings(operator.gt, other)

    def __ge__(self, other: Any) -> Any:
        return self._as_strings(operator.ge, other)

    def __add__(self, other: Any) -> Any:
        return self._as_strings(operator.add, other)

    def __radd__(self, other: Any) -> Any:
        return self._as_strings(lambda names, more: more + names, other)

    # as of any array: what may be compared by value is no key
    __hash__ = None  # type: ignore[assignment]

    def isna(self) -> NDArray[np.bool_]:
        """Return where a name is missing."""
        if isinstance(self._rows, range):
            return np.zeros(len(self), dtype=bool)
        return self._rows < 0

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> Self:
        """Return the names at these places; -1 is the last one, or none with ``allow_fill``."""
        del fill_value
        rows: Any = pd.api.extensions.take(
            self.numbers(), np.asarray(indices), allow_fill=allow_fill, fill_value=NO_ROW
        )
        return type(self)(self._dtype.prefix, rows)

    def copy(self) -> Self:
        """Return names of its own."""
        return type(self)(self._dtype.prefix, self._rows if isinstance(self._rows, range) else self._rows.copy())

    def unique(self) -> Self:
        """Return each name once, in order of appearance."""
        if isinstance(self._rows, range) or bool((self._rows[1:] > self._rows[:-1]).all()):
            return self
        return super().unique()

    def _values_for_factorize(self) -> tuple[NDArray[Any], int]:
        return self.numbers(), NO_ROW

    def numbers(self) -> NDArray[np.integer[Any]]:
        """Return the row numbers, -1 where a name is missing."""
        if isinstance(self._rows, range):
            top = max(abs(self._rows.start), abs(self._rows.stop))
            kind = np.int32 if top < np.iinfo(np.int32).max else np.int64
            return np.arange(self._rows.start, self._rows.stop, self._rows.step, dtype=kind)
        return self._rows

    def _as_strings(self, operation: Callable[[Any, Any], Any], other: Any) -> Any:
        if isinstance(other, pd.Series | pd.DataFrame | pd.Index):
            return NotImplemented
        return operation(np.asarray(self), np.asarray(other, dtype=object) if isinstance(other, EventNames) else other)

    def _whole(self) -> bool:
        return isinstance(self._rows, range) or not bool(self.isna().any())


def _row(prefix: str, name: Any) -> int | None:
    """Return the number of a row from its name, None where the name is another one."""
    number = name.removeprefix(prefix) if isinstance(name, str) and name.startswith(prefix) else ""
    # 007 and ٣ are digits, but not the spelling of a row
    return int(number) if number.isdecimal() and str(int(number)) == number else None


def _write(group: Any, key: str, names: EventNames, *, _writer: Any, dataset_kwargs: Any) -> None:
    _writer.write_elem(group, key, np.asarray(names), dataset_kwargs=dataset_kwargs)


for _group in (h5py.Group, zarr.Group) if _REGISTRY is not None else ():
    _REGISTRY.register_write(_group, EventNames, IOSpec("string-array", "0.2.0"))(_write)
