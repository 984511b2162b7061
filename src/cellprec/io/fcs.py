"""FCS files: the header alone for a look, the whole file as events × channels."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from cellprec import keys
from cellprec.errors import UsageError
from cellprec.io.fcs_data import linearize, read_events
from cellprec.io.fcs_layout import Layout, read_layout
from cellprec.io.fcs_source import FcsSource
from cellprec.io.fcs_spillover import Spillover, read_spillover
from cellprec.io.fcs_text import Text, read_text, whole
from cellprec.notes import Note, add_note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FCS: str = "fcs"
KINDS = ("scatter", "fluorescence", "mass", "time", "other")

_TIME = re.compile(r"(time|hdr-t)([ _-]?[lm]sw)?$", re.IGNORECASE)
_SCATTER = re.compile(r"(fsc|ssc|fs|ss|fals|fwsc|sdsc|forward|side)([\W_\d]|[ahw]$|$)", re.IGNORECASE)
_METAL = (
    r"(?:Y|Zr|Nb|Mo|Ru|Rh|Pd|Ag|Cd|In|Sn|Te|I|Xe|Cs|Ba|La|Ce|Pr|Nd|Sm|Eu|Gd|Tb|Dy|Ho|Er|Tm|Yb|Lu|"
    r"Hf|Ta|W|Re|Os|Ir|Pt|Au|Hg|Tl|Pb|Bi)"
)
_MASS = r"(?:[89]\d|1\d\d|20\d)"
# Nd143Di, (Nd143)Di, CD3_Nd143, 143Nd_CD3, CD3(110:114)Dd; not Y610-A or V450-A
_ISOTOPE = re.compile(
    rf"(?<![A-Za-z0-9])(?:{_METAL}{_MASS}|{_MASS}{_METAL})(?:D[id])?(?![A-Za-z0-9-])|\)D[id]$|^{_METAL}\(.*\)D[id]$"
)
_OTHER = re.compile(
    r"(event|cell)[ _]?(length|#|number|id|count)|original_id|computed time|center$|offset$|width$|residual$|index$|"
    r"hdr-|bead_?dist|file[ _]?(number|id)|(pulse|cell)[ _]?width|unused|amplitude|mean$|gate[ _]?source|"
    r"bc_separation_dist|mahalanobis",
    re.IGNORECASE,
)
_CYTOF = re.compile(r"cytof|helios|\bmass\b|dvs", re.IGNORECASE)


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

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns: the marker where there is one of that name, else the channel; unique."""
        return _names(self.channels, self.markers)


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
    source = FcsSource(path)
    header, _ = _open(source, dataset)
    return header


def read_fcs(path: str | Path, *, sample_id: str | None = None, scale: bool = True, dataset: int = 0) -> AnnData:
    """Read the events of an FCS file (FCS 2.0 to 3.2, plain or gzipped), every one of them or none.

    path: the file. sample_id: what to call the sample (the name of the file by default).
    scale: undo logarithmic amplifiers ($PnE), gains ($PnG) and clock ticks ($TIMESTEP, then seconds); without it X
    holds the stored values. dataset: which data set, where one file holds several.

    Returns events × channels. X: linear values, not compensated (float32; float64 only where float32 cannot hold the
    values of the file). obs: ``sample_id``, index ``sample_id:row``. var: index the marker where it is there and
    unique, else the channel; ``channel`` ($PnN), ``marker`` ($PnS), ``kind``, ``range`` ($PnR).
    varp["spillover"]: channels × channels, rows spill into columns, identity outside; only if the file has a matrix.
    uns["fcs"]: ``version``, ``file``, ``keywords`` (JSON). What was repaired or assumed is a note.

    Raises InputError where there is no such file; FileFormatError where it is not FCS, is cut short, or contradicts
    itself in a way that arithmetic cannot settle.

    Source: Spidlen et al. 2010 (FCS 3.1, doi:10.1002/cyto.a.20825).

    >>> from tempfile import TemporaryDirectory
    >>> from cellprec.io.export import write_fcs
    >>> with TemporaryDirectory() as folder:
    ...     file = write_fcs(Path(folder) / "P01.fcs", np.eye(2), channels=["FSC-A", "PE-A"], markers=["", "CAR"])
    ...     adata = read_fcs(file)
    >>> list(adata.obs_names), list(adata.var_names), adata.X.tolist()
    (['P01:0', 'P01:1'], ['FSC-A', 'CAR'], [[1.0, 0.0], [0.0, 1.0]])
    """
    source = FcsSource(path)
    header, layout = _open(source, dataset)
    values = read_events(source, layout)
    if scale:
        values = linearize(values, layout)
    name = sample_id if sample_id is not None else re.sub(r"(\.fcs|\.lmd)?(\.gz)?$", "", source.path.name, flags=re.I)
    adata = _assemble(values, header, name)
    adata.uns[FCS] = {
        "version": header.version,
        "file": source.path.name,
        "keywords": json.dumps(header.keywords, ensure_ascii=False),
    }
    for note in (*header.notes, *_not_finite(values)):
        add_note(adata, note.code, note.text, count=note.count, sample=name)
    return adata


def _open(source: FcsSource, dataset: int) -> tuple[FcsHeader, Layout]:
    text = read_text(source)
    notes: list[Note] = []
    for passed in range(dataset):
        step = _next_data_set(source, text)
        if not step:
            what = f"data set {dataset} was asked for, the file holds {passed + 1} (they count from 0)"
            raise UsageError(what, where=source.path)
        source.base += step
        text = read_text(source)
    if _next_data_set(source, text):
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
        kinds=_kinds(channels, text.keywords),
        notes=(*text.notes, *layout.notes, *notes, *spillover_notes),
    )
    return header, layout


def _next_data_set(source: FcsSource, text: Text) -> int:
    """Return the distance to the next data set, 0 where there is none."""
    step = whole(text.keywords.get("$NEXTDATA")) or 0
    return step if step > 0 and source.read(step, 3) == b"FCS" else 0


def _assemble(values: NDArray[Any], header: FcsHeader, sample_id: str) -> AnnData:
    n_events = values.shape[0]
    # the prefix once: keys.cell_name for every row would cost more than reading the file
    prefix = keys.cell_name(sample_id, "")
    names = pd.Index([f"{prefix}{row}" for row in range(n_events)], dtype=object)
    codes = np.zeros(n_events, dtype=np.int64)
    sample = pd.Categorical.from_codes(codes, categories=pd.Index([sample_id]))
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
    adata = AnnData(X=values, obs=obs, var=var)
    if header.spillover is not None:
        adata.varp[keys.SPILLOVER] = header.spillover.over(len(header.channels))
    return adata


def _names(channels: Sequence[str], markers: Sequence[str]) -> tuple[str, ...]:
    counts = Counter(markers)
    wanted = [m if m and counts[m] == 1 else c for c, m in zip(channels, markers, strict=True)]
    # a marker may be called like another channel: then the channels keep their names
    clashing = {name for name, count in Counter(wanted).items() if count > 1}
    wanted = [c if name in clashing else name for name, c in zip(wanted, channels, strict=True)]
    taken: set[str] = set()
    names = []
    for name in wanted:
        unique, number = name, 0
        while unique in taken or (number and unique in wanted):
            number += 1
            unique = f"{name}-{number}"
        taken.add(unique)
        names.append(unique)
    return tuple(names)


def _kinds(channels: Sequence[str], keywords: Mapping[str, str]) -> tuple[str, ...]:
    kinds = [_kind(channel) for channel in channels]
    isotopes = [kind == "fluorescence" and bool(_ISOTOPE.search(c)) for c, kind in zip(channels, kinds, strict=True)]
    if _CYTOF.search(keywords.get("$CYT", "")) or sum(isotopes) * 2 > kinds.count("fluorescence"):
        kinds = [
            ("mass" if isotope else "other") if kind == "fluorescence" else kind
            for kind, isotope in zip(kinds, isotopes, strict=True)
        ]
    return tuple(kinds)


def _kind(channel: str) -> str:
    if _TIME.match(channel):
        return "time"
    if _SCATTER.match(channel):
        return "scatter"
    return "other" if _OTHER.match(channel) else "fluorescence"


def _not_finite(values: NDArray[Any]) -> list[Note]:
    count = int(values.size - np.isfinite(values).sum())
    if not count:
        return []
    return [Note("fcs.not_finite", f"{count:,} values are not finite (NaN or infinite): they were kept.", count)]
