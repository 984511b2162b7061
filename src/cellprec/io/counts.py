"""Clone count tables: lineage barcodes and integration sites, one column per library or one row per count."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from cellprec import keys
from cellprec.errors import FileFormatError, InputError
from cellprec.io.delimited import Delimited, open_delimited, plain_name
from cellprec.notes import add_note

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BARCODE = "barcode"
INTEGRATION_SITE = "integration site"

# Spellings in use, as plain_name writes them; the earlier one wins where a table has several. Sequences come before
# numbers: a clone number is the file's own and means another clone in the next file.
_CLONE = [
    "knownbarcode",
    "barcodesequence",
    "barcodeseq",
    "clonebarcode",
    "barcode",
    "sequence",
    "nseqcdr3",
    "cdr3nt",
    "nucleotide",
    "junction",
    "tag",
    "clone",
    "cloneid",
    "clonotype",
    "clonotypeid",
]
_COUNT = [
    "umicount",
    "umicounts",
    "numis",
    "umis",
    "umi",
    "readcount",
    "readcounts",
    "nreads",
    "reads",
    "read",
    "clonecount",
    "cellcount",
    "ncells",
    "seqcountsum",
    "seqcount",
    "count",
    "counts",
    "value",
]
_SAMPLE = ["samplename", "sampleid", "sample", "libraryname", "libraryid", "library", "completeamplificationid"]
_CHROMOSOME = ["chr", "chrom", "chromosome", "seqnames"]
_LOCUS = ["integrationlocus", "locus", "position", "pos", "start"]
_STRAND = ["strand", "orientation"]

_ABSENT = {"", "NA", "NaN", "nan", "N/A"}
_DNA = re.compile(r"^[ACGTNacgtn]{6,}$")
_SITE = re.compile(r"^chr[0-9A-Za-z_]{1,40}[:_\-]\d+([:_\-][+\-*]?)?$", re.IGNORECASE)
_LARGEST_EXACT = 2**24  # float32 holds every integer up to here


def read_counts(path: str | Path, *, sample_id: str, column: str | None = None) -> AnnData:
    r"""Read how often each clone was seen in one library, from a table of one or many libraries.

    Three layouts are told apart by their headers: *wide* (first column the clone, one column per library), *long*
    (clone, count, and a sample column where there are several) and *integration sites* (chromosome, locus, strand;
    wide or long).

    Parameters
    ----------
    path
        CSV or TSV, gzipped or not.
    sample_id
        Name of the sample.
    column
        Name of the library in the table: a column (wide) or an entry of the sample column (long). By default
        ``sample_id``; a table of a single library needs neither.

    Returns
    -------
    AnnData
        1 × clones, sparse float32 counts; clones not seen in this library are left out. ``var["sequence"]`` (empty
        for a clone known only by name), ``var["source"]``; ``uns["cellprec"]["unit"]`` is reads, UMIs or cells, as
        the header says (reads where it does not).

    Raises
    ------
    InputError
        The library is not in the table, or a count is negative or not whole; the row is named.
    FileFormatError
        The table is damaged or has no clone or count column.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "counts.csv"
    >>> _ = path.write_text("barcode,drug_1,vehicle_1\nACGTACGT,5,0\nTTTTACGT,0,7\n")
    >>> read_counts(path, sample_id="drug_1").to_df()
            ACGTACGT
    drug_1       5.0
    """
    table = open_delimited(path)
    layout = _layout(table, column, sample_id)
    frame = table.frame([*layout.clone, layout.value, *layout.sample])
    taken_only = ""
    if layout.sample:
        frame, taken_only = _rows_of(frame, layout.sample[0], column or sample_id, table)
    elif layout.assumed:
        taken_only = layout.value
    counts, n_absent = _whole(frame[layout.value], table)
    clones = _sites(frame[layout.clone], table) if layout.is_site else frame[layout.clone[0]]
    clones = clones.where(~clones.str.match(_DNA), clones.str.upper())
    _refuse_unnamed(clones, counts, table)
    clones, counts = clones[counts > 0], counts[counts > 0]
    n_twice = int(clones.duplicated().sum())
    if n_twice:
        _refuse_mixture(table, layout, clones)
    summed = counts.groupby(clones, sort=False).sum()
    unit = _unit(layout.value)
    adata = clone_counts(summed.index.tolist(), summed.to_numpy(), sample_id=sample_id, unit=unit)
    notes = {
        "counts.only_library": (f"the table has one library, {taken_only!r}; it was taken", None, taken_only),
        "counts.absent": ("empty counts were read as zero", n_absent, n_absent),
        "counts.duplicates": ("rows of a clone listed before were added to it", n_twice, n_twice),
        "counts.none": ("no clone was seen in this library", None, not len(summed)),
    }
    for code, (text, count, applies) in notes.items():
        if applies:
            add_note(adata, code, text, count=count, sample=sample_id)
    return adata


def clone_counts(clones: Sequence[str], counts: np.ndarray, *, sample_id: str, unit: str = "reads") -> AnnData:
    """Make the 1 × clones object of one library from its clones and their counts.

    Parameters
    ----------
    clones
        Distinct names: barcode sequences, integration sites (``chr1:12345:+``), or others.
    counts
        One whole number per clone.
    sample_id
        Name of the library.
    unit
        What was counted: reads, UMIs or cells.

    Returns
    -------
    AnnData
        Clones by falling count, then name; ``var["sequence"]`` and ``var["source"]``.

    Examples
    --------
    >>> clone_counts(["ACGTAC", "chr1:12:+"], np.array([2, 3]), sample_id="s1").var
                   sequence            source
    chr1:12:+                integration site
    ACGTAC           ACGTAC           barcode
    """
    names = np.asarray(clones, dtype=object)
    counts = np.asarray(counts, dtype=np.int64)
    order = np.lexsort((names.astype(str), -counts))
    names, counts = names[order], counts[order]
    var = pd.DataFrame(index=pd.Index(names, dtype=object))
    var[keys.SEQUENCE] = pd.Categorical([name if _DNA.match(name) else "" for name in names])
    var[keys.SOURCE] = pd.Categorical([INTEGRATION_SITE if _SITE.match(name) else BARCODE for name in names])
    obs = pd.DataFrame({keys.SAMPLE_ID: pd.Categorical([sample_id])}, index=[sample_id])
    adata = AnnData(sparse.csr_matrix(counts.astype(np.float32)[None, :]), obs=obs, var=var)
    adata.uns[keys.UNS] = {keys.UNIT: unit}
    if len(counts) and counts.max() > _LARGEST_EXACT:
        text = f"counts above {_LARGEST_EXACT:,} are kept to seven digits"
        add_note(adata, "counts.rounded", text, count=int((counts > _LARGEST_EXACT).sum()), sample=sample_id)
    return adata


@dataclass(frozen=True)
class _Layout:
    clone: list[str]
    value: str
    sample: list[str]
    is_site: bool
    assumed: bool = False


def _layout(table: Delimited, column: str | None, sample_id: str) -> _Layout:
    plain = {plain_name(name): name for name in table.header}

    def first(spellings: Sequence[str]) -> str | None:
        return next((plain[spelling] for spelling in spellings if spelling in plain), None)

    chromosome, locus, strand = first(_CHROMOSOME), first(_LOCUS), first(_STRAND)
    is_site = chromosome is not None and locus is not None
    clone = [name for name in (chromosome, locus, strand) if name is not None] if is_site else []
    named = next((name for name in (column, sample_id) if name in table.header), None)
    sample = first(_SAMPLE)
    if named is not None and named not in {sample, *clone}:
        value = named  # the library has a column of its own, or the user names the count column
        is_count = plain_name(value) in _COUNT
        return _Layout(clone or [_clone(table, value, first)], value, [sample] if sample and is_count else [], is_site)
    count = first(_COUNT)
    wanted_elsewhere = column is not None and sample is None  # the user names a library that is no column
    if count is not None and not wanted_elsewhere and (is_site or sample or first(_CLONE)):
        return _Layout(clone or [_clone(table, count, first)], count, [sample] if sample else [], is_site)
    clone = clone or table.header[:1]
    libraries = [
        name for name in table.header if name not in clone and plain_name(name) not in {"genename", "genestrand"}
    ]
    if column is None and len(libraries) == 1:
        return _Layout(clone, libraries[0], [], is_site, assumed=True)
    if not libraries:
        raise FileFormatError(
            "the table has no column of counts",
            where=table.path,
            why="A clone table has a column of clones and at least one of counts.",
            fix="Check the separator; give CSV or TSV.",
        )
    raise _unknown(column or sample_id, libraries, table, "columns")


def _clone(table: Delimited, value: str, first: object) -> str:
    found = first(_CLONE) if callable(first) else None
    if isinstance(found, str) and found != value:
        return found
    return next((name for name in table.header if name != value), value)


def _unknown(name: str, libraries: list[str], table: Delimited, kind: str) -> InputError:
    near = difflib.get_close_matches(name, libraries, n=3, cutoff=0.5)
    shown = ", ".join(repr(library) for library in (near or libraries[:5]))
    more = f" and {len(libraries) - 5} more" if not near and len(libraries) > 5 else ""
    return InputError(
        f"there is no library {name!r} in the table",
        where=table.path,
        why=f"Its {len(libraries)} {kind} have other names.",
        fix=f"{'Did you mean' if near else 'Write one of'} {shown}{more}{'?' if near else '.'} "
        "Name the library in the sheet (column), or call the sample by it.",
    )


def _rows_of(frame: pd.DataFrame, sample: str, wanted: str, table: Delimited) -> tuple[pd.DataFrame, str]:
    libraries = [str(name) for name in pd.unique(frame[sample]) if name]
    if wanted in libraries:
        return frame[frame[sample] == wanted], ""
    if len(libraries) == 1:
        return frame, libraries[0]
    raise _unknown(wanted, libraries, table, f"entries of column {sample!r}")


def _whole(texts: pd.Series, table: Delimited) -> tuple[pd.Series, int]:
    absent = texts.isin(_ABSENT)
    numbers = pd.to_numeric(texts.mask(absent, "0"), errors="coerce")
    wrong = numbers.isna() | (numbers < 0) | (numbers != numbers.round()) | (numbers > 2**53)
    if wrong.any():
        place = int(np.argmax(wrong))
        value = numbers.iloc[place]
        negative = value < 0
        raise InputError(
            f"{texts.iloc[place]!r} is not a count"
            + (f", nor are {int(wrong.sum()) - 1} others" if wrong.sum() > 1 else ""),
            where=f"{table.path}, row {texts.index[place]}, column {texts.name}",
            why="A clone is seen a whole number of times; "
            + ("none is seen less than never." if negative else "statistics on normalized values would be wrong."),
            fix="Give the raw read, UMI or cell counts, before any normalization.",
        )
    return numbers.astype(np.int64), int(absent.sum())


def _sites(parts: pd.DataFrame, table: Delimited) -> pd.Series:
    chromosome = "chr" + parts.iloc[:, 0].str.replace(r"^chr", "", case=False, regex=True)
    locus = parts.iloc[:, 1].str.replace(r"\.0+$", "", regex=True)
    wrong = ~locus.str.fullmatch(r"\d+")
    if wrong.any():
        place = int(np.argmax(wrong))
        raise InputError(
            f"{parts.iloc[place, 1]!r} is not a position on a chromosome",
            where=f"{table.path}, row {parts.index[place]}, column {parts.columns[1]}",
            fix="Write positions as whole numbers, without thousands separators.",
        )
    sites = chromosome + ":" + locus
    return sites + ":" + parts.iloc[:, 2] if parts.shape[1] > 2 else sites


def _refuse_unnamed(clones: pd.Series, counts: pd.Series, table: Delimited) -> None:
    wrong = (clones == "") & (counts > 0)
    if wrong.any():
        raise InputError(
            f"{int(wrong.sum())} counted clones have no name",
            where=f"{table.path}, row {clones.index[int(np.argmax(wrong))]}",
            fix="Name the clone, or remove the row (totals do not belong into the table).",
        )


def _refuse_mixture(table: Delimited, layout: _Layout, clones: pd.Series) -> None:
    """Stop where clones occur twice because the table holds several samples that no sample column tells apart."""
    if layout.sample:
        return
    used = {*layout.clone, layout.value}
    others = [name for name in table.header if name not in used and plain_name(name) not in _COUNT]
    rest = table.frame(others) if others else pd.DataFrame(index=clones.index)
    rest = rest.reindex(clones.index).fillna("")
    numeric = [name for name in others if pd.to_numeric(rest[name], errors="coerce").notna().mean() > 0.99]
    telling = [name for name in others if name not in numeric or plain_name(name) in {"timepoint", "time", "day"}]
    differing = [name for name in telling if (rest[name].groupby(clones).nunique() > 1).any()]
    if differing:
        raise InputError(
            f"clones occur in several rows that differ in {', '.join(differing)}",
            where=table.path,
            why="The table holds several samples, and no column says which row belongs to which.",
            fix="Add a column 'sample' and name the library in the sheet.",
        )


def _unit(name: str) -> str:
    plain = plain_name(name)
    if "umi" in plain and plain in _COUNT:
        return "UMIs"
    return "cells" if plain in {"cellcount", "ncells"} else "reads"
