"""FCS files: the header alone for a look, the whole file as events × channels."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from cellprec import keys
from cellprec.errors import UsageError
from cellprec.io.fcs.data import Rows, is_scaled, read_events
from cellprec.io.fcs.event_names import event_names
from cellprec.io.fcs.layout import Layout, read_layout
from cellprec.io.fcs.names import KINDS, column_kinds, column_names
from cellprec.io.fcs.source import FcsSource
from cellprec.io.fcs.spillover import Spillover, read_spillover
from cellprec.io.fcs.subset import pick_channels, pick_rows, pick_spillover
from cellprec.io.fcs.text import HEADER_BYTES, parse_text, read_text, whole
from cellprec.notes import Note, add_note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FCS: str = "fcs"
# a file of more data sets than this is damaged
MOST_DATA_SETS = 1000


@dataclass(frozen=True, eq=False)
class FcsHeader:
    """What an FCS file says about itself: names in file order, keywords (``$`` names in capitals), notes on repairs."""

    version: str
    n_events: int
    channels: tuple[str, ...]
    markers: tuple[str, ...]
    keywords: dict[str, str]
    spillover: Spillover | None
    ranges: tuple[float, ...] = ()
    kinds: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    n_datasets: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns: the marker where there is one of that name, else the channel; unique."""
        return column_names(self.channels, self.markers)


def read_fcs_header(path: str | Path, *, dataset: int = 0) -> FcsHeader:
    """Look at an FCS file without reading its events.

    A truncated file is found here as well, from the length of the file alone.

    path: the file, plain or gzipped. dataset: which data set, where one file holds several.

    Raises InputError where there is no such file, FileFormatError where ``read_fcs`` would raise it.

    >>> from tempfile import TemporaryDirectory
    >>> from cellprec.io.export import write_fcs
    >>> with TemporaryDirectory() as folder:
    ...     file = write_fcs(Path(folder) / "a.fcs", np.ones((3, 2)), channels=["FSC-A", "PE-A"], markers=["", "CAR"])
    ...     header = read_fcs_header(file)
    >>> header.n_events, header.channels, header.markers, header.kinds
    (3, ('FSC-A', 'PE-A'), ('', 'CAR'), ('scatter', 'fluorescence'))
    """
    with FcsSource(path) as source:
        header, _ = _open(source, dataset)
    return header


def read_fcs(
    path: str | Path,
    *,
    sample_id: str | None = None,
    channels: Sequence[str] | None = None,
    rows: slice | Sequence[int] | NDArray[np.integer] | None = None,
    scale: bool = True,
    dataset: int = 0,
) -> AnnData:
    """Read the events of an FCS file (FCS 2.0 to 3.2, plain or gzipped), every one of them or none.

    path: the file. sample_id: what to call the sample (the name of the file by default).
    channels: names of the channels to read ($PnN or marker), in this order; all by default.
    rows: the events to read, as a slice or as row numbers that count from 0; all by default. Only what is asked for
    comes into memory. dataset: which data set, where one file holds several.
    scale: undo logarithmic amplifiers ($PnE), gains ($PnG) and clock ticks ($TIMESTEP, then seconds); without it X
    holds the stored values.

    Returns events × channels. X: linear values, not compensated (float32; float64 only where float32 cannot hold the
    stored values). Linear values are those of the formulas in float64, rounded once.
    obs: ``sample_id``, index ``sample_id:row``, the row that of the file. var: index the marker where it is there and
    unique, else the channel; ``channel`` ($PnN), ``marker`` ($PnS), ``kind``, ``range`` ($PnR).
    varp["spillover"]: channels × channels, rows spill into columns, identity outside; only if the file has a matrix
    and all its channels were read. uns["fcs"]: ``version``, ``file``, ``keywords`` (JSON), ``scaled`` (whether X is
    linear; False: as stored, and that differs) and ``scaled_channels`` (JSON, the rows of var whose values are not
    the stored ones). What was repaired or assumed is a note.

    Raises InputError where there is no such file; FileFormatError where it is not FCS, is cut short, or contradicts
    itself in a way that arithmetic cannot settle; UsageError where a channel or row is not in it.

    Source: Spidlen et al. 2010 (FCS 3.1, doi:10.1002/cyto.a.20825).

    >>> from tempfile import TemporaryDirectory
    >>> from cellprec.io.export import write_fcs
    >>> with TemporaryDirectory() as folder:
    ...     file = write_fcs(Path(folder) / "P01.fcs", np.eye(2), channels=["FSC-A", "PE-A"], markers=["", "CAR"])
    ...     adata = read_fcs(file)
    ...     second = read_fcs(file, channels=["CAR"], rows=slice(1, None))
    >>> list(adata.obs_names), list(adata.var_names), adata.X.tolist()
    (['P01:0', 'P01:1'], ['FSC-A', 'CAR'], [[1.0, 0.0], [0.0, 1.0]])
    >>> list(second.obs_names), list(second.var_names), second.X.tolist()
    (['P01:1'], ['CAR'], [[1.0]])
    """
    read = _read(path, channels=channels, rows=rows, scale=scale, dataset=dataset)
    file = Path(path).name
    name = sample_id if sample_id is not None else re.sub(r"(\.fcs|\.lmd)?(\.gz)?$", "", file, flags=re.IGNORECASE)
    adata = _assemble(read, name)
    scaled = [str(label) for label, changed in zip(adata.var_names, read.scaled, strict=True) if changed]
    adata.uns[FCS] = {
        "version": read.header.version,
        "file": file,
        "keywords": json.dumps(read.header.keywords, ensure_ascii=False),
        "scaled": scale or not read.differs,
        "scaled_channels": json.dumps(scaled, ensure_ascii=False),
    }
    for note in read.notes:
        add_note(adata, note.code, note.text, count=note.count, sample=name)
    return adata


def read_fcs_events(
    path: str | Path,
    *,
    channels: Sequence[str] | None = None,
    rows: slice | Sequence[int] | NDArray[np.integer] | None = None,
    scale: bool = True,
    dataset: int = 0,
) -> tuple[NDArray[Any], FcsHeader]:
    """Read the numbers of an FCS file alone: events × channels as an array, and what the file says of itself.

    The arguments, the values and the errors are those of ``read_fcs``. The header names all channels of the file, and
    its notes tell what was repaired or assumed.

    >>> from tempfile import TemporaryDirectory
    >>> from cellprec.io.export import write_fcs
    >>> with TemporaryDirectory() as folder:
    ...     file = write_fcs(Path(folder) / "a.fcs", np.eye(2), channels=["FSC-A", "PE-A"], markers=["", "CAR"])
    ...     values, header = read_fcs_events(file, channels=["PE-A"])
    >>> values.tolist(), header.channels
    ([[0.0], [1.0]], ('FSC-A', 'PE-A'))
    """
    read = _read(path, channels=channels, rows=rows, scale=scale, dataset=dataset)
    return read.values, replace(read.header, notes=read.notes)


@dataclass(frozen=True, eq=False)
class _Read:
    header: FcsHeader
    values: NDArray[Any]
    rows: Rows
    columns: list[int]
    scaled: list[bool]
    differs: bool
    spillover: Spillover | None
    notes: tuple[Note, ...]


def _read(
    path: str | Path,
    *,
    channels: Sequence[str] | None,
    rows: slice | Sequence[int] | NDArray[np.integer] | None,
    scale: bool,
    dataset: int,
) -> _Read:
    with FcsSource(path) as source:
        header, layout = _open(source, dataset)
        columns = pick_channels(
            channels, channels=header.channels, markers=header.markers, names=header.names, path=source.path
        )
        wanted = pick_rows(rows, n_events=layout.n_events, path=source.path)
        values, not_finite = read_events(source, layout, rows=wanted, columns=columns, scale=scale)
    spillover, notes = pick_spillover(header.spillover, columns)
    if values.shape != (layout.n_events, len(layout.parameters)):
        n_rows, n_columns = values.shape
        text = (
            f"Part of the file was read, as asked: {n_rows:,} of {layout.n_events:,} events, "
            f"{n_columns:,} of {len(layout.parameters):,} channels."
        )
        notes.append(Note("fcs.subset", text, n_rows))
    if not_finite:
        text = f"{not_finite:,} values are not finite (NaN or infinite): they were kept."
        notes.append(Note("fcs.not_finite", text, not_finite))
    differs = [is_scaled(layout.parameters[column]) for column in columns]
    scaled = [scale and one for one in differs]
    return _Read(header, values, wanted, columns, scaled, any(differs), spillover, (*header.notes, *notes))


def _open(source: FcsSource, dataset: int) -> tuple[FcsHeader, Layout]:
    text = read_text(source)
    n_data_sets = _count_data_sets(source, text.keywords)
    if not 0 <= dataset < n_data_sets:
        what = f"data set {dataset} was asked for, the file holds {n_data_sets} (they count from 0)"
        raise UsageError(what, where=source.path)
    for _ in range(dataset):
        source.base += _next_data_set(source, text.keywords)
        text = read_text(source)
    notes: list[Note] = []
    if dataset + 1 < n_data_sets:
        message = f"The file holds another data set after this one: read it with dataset={dataset + 1}."
        notes.append(Note("fcs.data_sets", message))
    layout = read_layout(source, text)
    channels = tuple(parameter.channel for parameter in layout.parameters)
    markers = tuple(parameter.marker for parameter in layout.parameters)
    spillover, spillover_notes = read_spillover(text.keywords, channels=channels, markers=markers)
    repeated = [name for name, count in Counter(channels).items() if count > 1]
    if repeated:
        message = f"Channels share a name ({', '.join(repeated)}): they were numbered."
        notes.append(Note("fcs.names", message, len(repeated)))
    header = FcsHeader(
        version=text.segments.version,
        n_events=layout.n_events,
        channels=channels,
        markers=markers,
        keywords=text.keywords,
        spillover=spillover,
        ranges=tuple(parameter.range for parameter in layout.parameters),
        kinds=column_kinds(channels, text.keywords),
        notes=(*text.notes, *layout.notes, *notes, *spillover_notes),
        n_datasets=n_data_sets,
    )
    return header, layout


def _count_data_sets(source: FcsSource, keywords: Mapping[str, str]) -> int:
    """Follow $NEXTDATA from the first data set on: only forward, past the TEXT it stands in, so no chain is endless."""
    count = 1
    try:
        while count < MOST_DATA_SETS:
            head = source.read(0, HEADER_BYTES)
            first, last = (whole(head[at : at + 8].decode("latin-1")) or 0 for at in (10, 18))
            if count > 1:
                # the repairs of a data set are told when it is read
                keywords, _ = parse_text(source.read(first, last - first + 1))
            step = _next_data_set(source, keywords)
            if step <= last:
                break
            source.base += step
            count += 1
    finally:
        source.base = 0
    return count


def _next_data_set(source: FcsSource, keywords: Mapping[str, str]) -> int:
    """Return the distance to the next data set, 0 where there is none."""
    step = whole(keywords.get("$NEXTDATA")) or 0
    return step if step > 0 and source.read(step, 3) == b"FCS" else 0


def _assemble(read: _Read, sample_id: str) -> AnnData:
    header = read.header
    codes = np.zeros(len(read.values), dtype=np.int8)
    sample = pd.Categorical.from_codes(codes, categories=pd.Index([sample_id]))
    names = event_names(keys.cell_name(sample_id, ""), read.rows)
    obs = pd.DataFrame({keys.SAMPLE_ID: sample}, index=names)
    var = pd.DataFrame(
        {
            keys.CHANNEL: list(header.channels),
            keys.MARKER: list(header.markers),
            keys.KIND: pd.Categorical(header.kinds, categories=list(KINDS)),
            keys.RANGE: np.array(header.ranges, dtype=np.float64),
        },
        index=pd.Index(header.names, dtype=object),
    )
    # both are unique as they are made; to prove it takes longer than to read the file
    with anndata.settings.override(check_uniqueness=False):
        adata = AnnData(X=read.values, obs=obs, var=var.iloc[read.columns])
    if read.spillover is not None:
        adata.varp[keys.SPILLOVER] = read.spillover.over(len(read.columns))
    return adata
