"""One row per patient: everything the study measured, at the grain at which outcomes happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd

from cellprec import keys
from cellprec.biomarkers.features import Block, cell_blocks, clone_blocks, table_block
from cellprec.biomarkers.places import Places
from cellprec.errors import InputError, JoinError
from cellprec.notes import add_note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData


def patients(
    *,
    sheet: pd.DataFrame,
    clinical: pd.DataFrame,
    cytometry: AnnData | None = None,
    rna: AnnData | None = None,
    clones: AnnData | None = None,
    tables: Mapping[str, AnnData] | None = None,
    until: tuple[str, ...] | None = None,
    min_cells: int = 20,
    seed: int = 0,
) -> AnnData:
    """Gather what was measured of each patient into one table of features, with the outcomes beside it.

    ``sheet`` is ``samples.csv``, ``clinical`` is ``patients.csv`` (by patient, or with a ``patient_id`` column);
    ``tables`` maps the ``sample_id`` of each table file to its patients × features. Rows are the patients in both.

    Features, each ``…@timepoint``: ``cytometry:fraction:<population>`` and ``rna:fraction:<population>`` (centred
    log-ratio, Aitchison 1986, of the cell counts + 0.5; the mean log over the populations seen in at least half of
    the patients of that timepoint; unassigned cells left out), ``rna:signature:<name>`` (mean over cells),
    ``rna:car:fraction``, ``clones:diversity:clonality`` (1 − Pielou) and ``clones:diversity:hill_1`` (log), both at
    equal depth, and ``table:<file>:<column>``. Samples of one patient and timepoint are pooled by their counts.

    A population that was looked for and not seen is a zero, and has a value. What was not measured, or with fewer
    than ``min_cells`` cells, is NaN, and 1 in ``layers["missing"]``. ``until`` names the timepoints before the
    landmark: later and undated features do not enter. ``obs`` holds ``clinical`` and the batch; ``uns["batches"]``
    the batch of each patient per ``modality@timepoint``.

    Raises JoinError where both share fewer than two patients or no sample, InputError for a patient written twice.

    >>> sheet = pd.DataFrame({"sample_id": ["labs"], "modality": ["table"], "path": ["plasma.csv"]})
    >>> clinical = pd.DataFrame({"response": ["CR", "PD"]}, index=["P1", "P2"])
    >>> labs = anndata.AnnData(np.array([[3.0], [9.0]], dtype="float32"))
    >>> labs.obs_names, labs.var_names = ["P1", "P2"], ["il6_pg_per_ml"]
    >>> adata = patients(sheet=sheet, clinical=clinical, tables={"labs": labs})
    >>> adata.to_df()
        table:plasma:il6_pg_per_ml
    P1                         3.0
    P2                         9.0
    """
    outcomes = _by_patient(clinical)
    places = Places.read(sheet)
    notes = anndata.AnnData(shape=(0, 0))
    blocks: list[Block] = []
    for modality, cells in (("cytometry", cytometry), ("rna", rna)):
        if cells is not None:
            blocks += cell_blocks(cells, modality=modality, places=places, notes=notes, min_cells=min_cells)
    if clones is not None:
        blocks += clone_blocks(clones, places=places, notes=notes, min_cells=min_cells, seed=seed)
    blocks += [table_block(table, sample_id=name, places=places) for name, table in (tables or {}).items()]
    blocks = _before_landmark(blocks, until=until, notes=notes)
    measured = set(places.patients).union(*(block.values.index for block in blocks))
    shared = _shared(outcomes, measured=measured, notes=notes)
    adata = _assembled(blocks, patients=shared)
    adata.obs = _obs(outcomes.loc[shared], notes=notes)
    _add_batches(adata, places=places)
    adata.uns[keys.UNS] = notes.uns.get(keys.UNS, {})
    return adata


def _by_patient(clinical: pd.DataFrame) -> pd.DataFrame:
    table = clinical.set_index(keys.PATIENT_ID) if keys.PATIENT_ID in clinical else clinical.copy()
    table.index = table.index.astype(str).str.strip()
    twice = table.index[table.index.duplicated()].unique()
    if len(twice):
        raise InputError(
            f"{len(twice)} patients stand twice in the clinical table: {', '.join(twice[:3])}",
            where="patients.csv, column patient_id",
            why="a patient has one outcome",
            fix="keep one row per patient",
        )
    return table


def _before_landmark(blocks: list[Block], *, until: tuple[str, ...] | None, notes: AnnData) -> list[Block]:
    if until is None:
        return blocks
    early = [block for block in blocks if block.timepoint in until]
    late = sum(block.values.shape[1] for block in blocks if block.timepoint not in until)
    if late:
        text = f"{late} features measured after {until[-1] if until else 'the start'}, or undated, were left out"
        add_note(
            notes, "biomarkers.landmark", f"{text}: they cannot foretell what may have happened before", count=late
        )
    return early


def _shared(outcomes: pd.DataFrame, *, measured: set[str], notes: AnnData) -> list[str]:
    shared = [patient for patient in outcomes.index if patient in measured]
    if len(shared) < 2:
        raise JoinError(
            f"the samples and the clinical table share {len(shared)} patients",
            where=f"samples: {', '.join(sorted(measured)[:3]) or 'none'}; "
            f"patients.csv: {', '.join(outcomes.index[:3]) or 'none'}",
            why="outcomes are compared between patients",
            fix="write patient_id the same way in both tables",
        )
    for code, where, absent in (
        ("biomarkers.no_clinical", "no row in the clinical table", sorted(measured.difference(outcomes.index))),
        ("biomarkers.no_sample", "no sample", [p for p in outcomes.index if p not in measured]),
    ):
        if absent:
            some = ", ".join(absent[:5]) + (" …" if len(absent) > 5 else "")
            add_note(notes, code, f"{len(absent)} patients have {where} and were left out: {some}", count=len(absent))
    return shared


def _assembled(blocks: list[Block], *, patients: list[str]) -> AnnData:
    values = [block.values.reindex(patients) for block in blocks]
    frame = pd.concat(values, axis=1) if values else pd.DataFrame(index=patients)
    about = [(b.modality, b.timepoint, family, unit) for b in blocks for family, unit in b.about]
    X = frame.to_numpy(dtype=np.float32)
    var = pd.DataFrame(about, columns=[keys.MODALITY, keys.TIMEPOINT, keys.FAMILY, keys.FEATURE_UNIT], dtype="category")
    var.index = pd.Index(frame.columns.astype(str))
    missing = np.isnan(X)
    var["n_missing"] = missing.sum(axis=0)
    twice = var.index[var.index.duplicated()].unique()
    if len(twice):
        raise InputError(
            f"{len(twice)} features have the same name: {', '.join(twice[:3])}",
            where="samples.csv, modality table",
            fix="give table files of one timepoint different file names, and their columns different headers",
        )
    # names as plain strings: a frame without columns has an integer index
    adata = anndata.AnnData(X=X, obs=pd.DataFrame(index=pd.Index(patients, dtype=str)), var=var)
    adata.layers[keys.MISSING] = missing.astype(np.float32)
    return adata


def _add_batches(adata: AnnData, *, places: Places) -> None:
    names = adata.obs_names.tolist()
    batches = places.batches(names)
    if not batches.empty:
        adata.uns["batches"] = batches.astype("category")
    # a batch that the clinical table states itself is kept
    if keys.BATCH not in adata.obs:
        adata.obs[keys.BATCH] = pd.Categorical(places.batch(names).reindex(names).fillna(""))


def _obs(outcomes: pd.DataFrame, *, notes: AnnData) -> pd.DataFrame:
    """Return the clinical table as an h5ad can hold it: numbers as numbers, words as categories."""
    columns: dict[str, pd.Series] = {}
    for name in outcomes.columns:
        key = str(name).replace("/", "|")
        if key != str(name):
            add_note(notes, "biomarkers.renamed", f"the column {name} is called {key} in the results, which allow no /")
        values = outcomes[name]
        if not pd.api.types.is_numeric_dtype(values):
            words = values.astype("object").where(values.notna()).map(lambda v: str(v).strip(), na_action="ignore")
            words = words.where(words != "")
            numbers = pd.to_numeric(words, errors="coerce")
            numeric = bool(words.notna().any()) and bool((numbers.notna() == words.notna()).all())
            values = numbers.astype(float) if numeric else words.astype("category")
        elif pd.api.types.is_extension_array_dtype(values.dtype) and not isinstance(values.dtype, pd.CategoricalDtype):
            values = values.astype(float)
        columns[key] = values
    return pd.DataFrame(columns, index=outcomes.index)
