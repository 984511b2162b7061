"""Tables as a person reads them: a few columns with plain headers, numbers with the digits they deserve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

Kind = Literal["text", "count", "fraction", "number", "p", "interval"]
TOP = 20
MISSING = "–"


@dataclass(frozen=True)
class Column:
    """One column of a table: its name in the data, its header, how its values are written."""

    key: str
    label: str
    kind: Kind = "text"


@dataclass(frozen=True)
class Table:
    """A table ready to print: headers, cells as text, and where all rows are."""

    caption: str
    headers: tuple[tuple[str, Kind], ...]
    rows: tuple[tuple[str, ...], ...]
    n_rows: int
    source: str = ""
    wide: bool = False

    @property
    def is_cut(self) -> bool:
        """Whether some rows are left out."""
        return len(self.rows) < self.n_rows


def as_text(value: Any, *, kind: Kind = "text") -> str:
    """Write a value for a reader: counts with thousands, fractions in percent, p-values without false digits.

    >>> as_text(12345, kind="count"), as_text(0.0712, kind="fraction"), as_text(0.00004, kind="p")
    ('12,345', '7.1 %', '4.0e-05')
    >>> as_text(float("nan"), kind="number"), as_text(float("inf"), kind="number"), as_text("cannot tell", kind="p")
    ('–', '∞', 'cannot tell')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)) or str(value) in {"", "<NA>", "NaT"}:
        return MISSING
    try:
        number = None if kind in {"text", "interval"} else float(value)
    except (TypeError, ValueError):
        number = None
    if number is None:
        return str(value)
    if math.isnan(number):
        return MISSING
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    return _number(number, kind=kind)


def _number(number: float, *, kind: Kind) -> str:
    if kind == "count":
        return f"{number:,.0f}"
    if kind == "fraction":
        percent = 100 * number
        small = 0 < abs(percent) < 0.1
        return (f"{percent:.2g} %" if small else f"{percent:.1f} %").replace("-", "−", 1 if percent < 0 else 0)
    if kind == "p":
        return f"{number:.1e}" if 0 < number < 0.001 else f"{number:.3f}"
    if number == 0:
        return "0"
    digits = 0 if abs(number) >= 1000 else max(0, 2 - math.floor(math.log10(abs(number))))
    text = f"{number:.2e}" if abs(number) < 0.001 else f"{number:,.{min(digits, 5)}f}"
    return text.replace("-", "−", 1) if number < 0 else text


def make_table(
    frame: pd.DataFrame,
    *,
    columns: Sequence[Column],
    caption: str,
    source: str = "",
    top: int = TOP,
    keep_rest: bool = False,
) -> Table:
    """Choose columns and the first rows of a data frame and write them for a reader.

    Columns the frame lacks are left out, never invented. ``keep_rest`` adds the columns that were not named.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"sample_id": ["a", "b"], "n_events": [1000, 2500]})
    >>> table = make_table(frame, columns=[Column("n_events", "events", "count")], caption="Samples", top=1)
    >>> table.headers, table.rows, table.is_cut
    ((('events', 'count'),), (('1,000',),), True)
    """
    shown = [column for column in columns if column.key in frame.columns]
    if keep_rest:
        named = {column.key for column in columns}
        rest = [str(key) for key in frame.columns if key not in named]
        shown += [Column(key, key.replace("_", " "), _kind(frame[key])) for key in rest]
    held = [frame[column.key].head(top).astype(object).tolist() for column in shown]
    cells = [[as_text(value, kind=column.kind) for value in values] for column, values in zip(shown, held, strict=True)]
    return Table(
        caption=caption,
        headers=tuple((column.label, column.kind) for column in shown),
        rows=tuple(zip(*cells, strict=True)),
        n_rows=len(frame),
        source=source,
        wide=len(shown) > 7,
    )


def _kind(values: pd.Series) -> Kind:
    return {"i": "count", "u": "count", "f": "number"}.get(values.dtype.kind, "text")  # type: ignore[return-value]


def with_interval(frame: pd.DataFrame, *, low: str = "low", high: str = "high", kind: Kind = "number") -> pd.DataFrame:
    """Add the column ``interval``: both ends of an interval in one cell, as a reader takes them.

    >>> import pandas as pd
    >>> with_interval(pd.DataFrame({"low": [0.5], "high": [0.75]}))["interval"].tolist()
    ['0.500 to 0.750']
    """
    if low not in frame or high not in frame:
        return frame
    ends = zip(frame[low], frame[high], strict=True)
    words = [" to ".join(as_text(end, kind=kind) for end in pair) for pair in ends]
    return frame.assign(interval=[MISSING if word == f"{MISSING} to {MISSING}" else word for word in words])


def some(names: Sequence[str], *, top: int = 6) -> str:
    """Name the first few and count the rest.

    >>> some(["a", "b", "c"], top=2)
    'a, b and 1 more'
    >>> some(["a", "b"])
    'a and b'
    """
    held = [str(name) for name in names]
    if len(held) > top:
        return f"{', '.join(held[:top])} and {len(held) - top} more"
    return " and ".join([", ".join(held[:-1]), held[-1]] if len(held) > 1 else held)


def counted(n: int, *, one: str, many: str = "") -> str:
    """Write a count with its noun.

    >>> counted(1, one="sample"), counted(1200, one="clone")
    ('1 sample', '1,200 clones')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def span(values: pd.Series, *, kind: Kind) -> str:
    """Say where a series starts and where it ends, with the names of the two.

    >>> import pandas as pd
    >>> span(pd.Series({"P1": 0.2, "P3": 0.3, "P2": 0.9}), kind="fraction")
    'from 20.0 % (P1) to 90.0 % (P2)'
    """
    held = values.dropna()
    if held.empty:
        return "no values"
    low, high = int(held.argmin()), int(held.argmax())
    first, last = (f"{as_text(held.iloc[i], kind=kind)} ({held.index[i]})" for i in (low, high))
    return f"from {first} to {last}"


def upper(sentence: str) -> str:
    """Begin a sentence with a capital and end it without its period, to be set by the caller.

    >>> upper("no clone rose or fell.")
    'No clone rose or fell'
    """
    return (sentence[:1].upper() + sentence[1:]).rstrip(". ")


def short(name: str, *, most: int = 29) -> str:
    """Shorten a long name in its middle, where names of clones differ least.

    >>> short("ACGT"), short("P01:TRA:TGTGCCGAGGGGGA;TRB:TGTGCCAGTTCTTC", most=19)
    ('ACGT', 'P01:TRA:T…CAGTTCTTC')
    """
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"
