"""Clone counts of many samples in one table, and PCR replicates summed into the libraries they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from cellprec import keys
from cellprec.errors import InputError, JoinError
from cellprec.notes import add_note, get_notes, set_notes

LOW_DEPTH = "low_depth"
TOTAL = "total"
PCR_R = "pcr_r"
N_PCR = "n_pcr"
DESIGN = (keys.PATIENT_ID, keys.ARM, keys.TIMEPOINT, keys.REPLICATE)

_SHALLOW = 10.0
_MADS = 3.0
_PCR_R_LOW = 0.9
_MIN_TOTAL = {"reads": 10, "UMIs": 3}


def table(samples: Mapping[str, AnnData], *, sheet: pd.DataFrame, min_total: float | None = None) -> AnnData:
    """Join the clone counts of all samples into one table of samples × clones.

    Parameters
    ----------
    samples
        By sample, its 1 × clones counts, all in one unit (``uns["cellprec"]["unit"]``: reads, UMIs or cells).
    sheet
        The sample sheet, one row per sample, with a column ``sample_id`` or indexed by it. Rows of other samples
        are ignored.
    min_total
        Clones with fewer counts than this in the whole study are dropped, with a note. By default 10 reads, 3 UMIs
        or 1 cell.

    Returns
    -------
    AnnData
        samples × clones. ``X`` counts, ``layers["frequency"]`` counts over the total of the library (after the drop),
        ``obs`` the sheet plus ``total`` and ``low_depth``, ``var`` ``sequence`` and ``source``. A library is low depth
        if it has less than a tenth of the median total and lies more than three median absolute deviations below it
        on the log scale, or is empty. It is flagged and kept; contrasts leave it out.

    Raises
    ------
    JoinError
        If a sample is not in the sheet.
    InputError
        If units are mixed, or counts are negative or not finite.

    Examples
    --------
    >>> one = AnnData(np.array([[30.0, 10.0]]), var=pd.DataFrame(index=["AC", "GT"]))
    >>> two = AnnData(np.array([[60.0]]), var=pd.DataFrame(index=["GT"]))
    >>> sheet = pd.DataFrame({"sample_id": ["s1", "s2"], "arm": ["drug", "vehicle"]})
    >>> table({"s1": one, "s2": two}, sheet=sheet).to_df().values.tolist()
    [[30.0, 10.0], [0.0, 60.0]]
    """
    if not samples:
        raise InputError("there are no clone counts to join", fix="Add samples with clone counts to the sheet.")
    obs = _obs(list(samples), sheet)
    held = {name: _one(data, name) for name, data in samples.items()}
    unit, assumed = _unit({name: data for name, (data, _) in held.items()})
    var = _join_var([var for _, var in held.values()])
    counts = np.zeros((len(held), len(var)), dtype=np.float64)
    for row, (_, sample_var) in enumerate(held.values()):
        counts[row, var.index.get_indexer(sample_var.index)] = sample_var["count"].to_numpy()
    floor = _MIN_TOTAL.get(unit, 1) if min_total is None else min_total
    keep = counts.sum(axis=0) >= max(floor, np.finfo(float).tiny)
    adata = AnnData(counts[:, keep].astype(np.float32), obs=obs, var=var.loc[keep])
    adata.uns[keys.UNS] = {keys.UNIT: unit}
    set_notes(adata, [note for data, _ in held.values() for note in get_notes(data)])
    if assumed:
        add_note(adata, "clones.unit", f"the counts of {assumed} samples name no unit; they are taken as {unit}")
    if not keep.all():
        share = counts[:, ~keep].sum() / counts.sum()
        add_note(
            adata,
            "clones.rare",
            f"clones with fewer than {floor:g} {unit} in the whole study were dropped ({share:.2%} of all {unit})",
            count=int((~keep).sum()),
        )
    finish(adata)
    _note_depth(adata)
    return adata


def told(column: pd.Series) -> pd.Series:
    """Return a column of the sheet as text, what is missing being empty.

    >>> told(pd.Series(["d1", None, float("nan")])).tolist()
    ['d1', '', '']
    """
    return column.astype(object).where(column.notna(), "").astype(str).replace("nan", "")


def finish(adata: AnnData) -> None:
    """Write ``layers["frequency"]``, ``obs["total"]`` and ``obs["low_depth"]`` from the counts.

    >>> adata = AnnData(np.array([[3.0, 1.0], [0.0, 0.0]], dtype=np.float32))
    >>> finish(adata)
    >>> adata.layers["frequency"].tolist(), adata.obs["low_depth"].tolist()
    ([[0.75, 0.25], [0.0, 0.0]], [False, True])
    """
    counts = np.asarray(adata.X, dtype=np.float64)
    total = counts.sum(axis=1)
    adata.layers[keys.FREQUENCY] = (counts / np.maximum(total, 1e-300)[:, None]).astype(np.float32)
    adata.obs[TOTAL] = total
    adata.obs[LOW_DEPTH] = _is_low(total)


def collapse(adata: AnnData, *, by: Sequence[str] = ()) -> AnnData:
    """Sum PCR replicates: libraries of one patient, arm, timepoint and replicate that differ in ``pcr_replicate``.

    Parameters
    ----------
    adata
        samples × clones, from :func:`table`.
    by
        Further columns of ``obs`` that tell biological samples apart (a dose, a tissue).

    Returns
    -------
    AnnData
        One row per biological replicate. ``obs["pcr_r"]`` is the lowest Pearson correlation of log counts between two
        PCR replicates over the clones seen in either (missing where there is one), ``obs["n_pcr"]`` their number,
        ``obs["libraries"]`` their names. PCR replicates are not units: they tell about the PCR, not about the cells.
        A sheet without ``replicate`` thus holds one culture per patient, arm and timepoint. Libraries of which no
        design column is filled in are not summed.

    Raises
    ------
    InputError
        If two libraries agree in every design column and in ``pcr_replicate``.

    Examples
    --------
    >>> obs = pd.DataFrame({"arm": ["A", "A"], "replicate": ["1", "1"], "pcr_replicate": ["a", "b"]}, index=["x", "y"])
    >>> both = collapse(AnnData(np.array([[1.0, 5.0], [2.0, 9.0]], dtype=np.float32), obs=obs))
    >>> both.to_df().values.tolist(), both.obs_names.tolist()
    ([[3.0, 14.0]], ['A_1'])
    """
    design = [column for column in (*DESIGN, *by) if column in adata.obs]
    missing = [column for column in by if column not in adata.obs]
    if missing:
        raise InputError(f"the sheet has no column {missing[0]!r}", fix=f"Columns: {', '.join(adata.obs.columns)}.")
    if keys.PCR_REPLICATE not in adata.obs or not design:
        same = adata.copy()
        same.obs[PCR_R], same.obs[N_PCR], same.obs["libraries"] = np.nan, 1, pd.Categorical(same.obs_names)
        return same
    text = adata.obs[design].apply(told)
    named = (text != "").any(axis=1).to_numpy()
    _refuse_twins(adata[named], [*design, keys.PCR_REPLICATE])
    # nothing says that libraries without any design are PCR replicates of one culture: each stays alone
    group = text.agg("\x1f".join, axis=1).where(named, [f"\x1f\x1f{name}" for name in adata.obs_names])
    counts = np.asarray(adata.X, dtype=np.float64)
    names, rows, sums, correlations = [], [], [], []
    for _, members in pd.Series(np.arange(adata.n_obs), index=group.to_numpy()).groupby(level=0, sort=False):
        picked = members.to_numpy()
        label = "_".join(value for value in text.iloc[picked[0]] if value)
        names.append(label if len(picked) > 1 and label else str(adata.obs_names[picked[0]]))
        rows.append(picked)
        sums.append(counts[picked].sum(axis=0))
        correlations.append(_pcr_r(counts[picked]))
    if len(set(names)) < len(names):
        names = [str(adata.obs_names[picked[0]]) for picked in rows]
    obs = adata.obs.iloc[[picked[0] for picked in rows]].drop(columns=[keys.PCR_REPLICATE, "path"], errors="ignore")
    obs.index = pd.Index(names, name=keys.SAMPLE_ID)
    obs[PCR_R] = correlations
    obs[N_PCR] = [len(picked) for picked in rows]
    obs["libraries"] = pd.Categorical([";".join(adata.obs_names[picked]) for picked in rows])
    out = AnnData(np.asarray(sums, dtype=np.float32), obs=obs, var=adata.var.copy())
    out.uns[keys.UNS] = dict(adata.uns.get(keys.UNS, {}))
    finish(out)
    for name, r in zip(names, correlations, strict=True):
        if r < _PCR_R_LOW:
            text_r = f"PCR replicates agree poorly (correlation of log counts {r:.2f}); small clones are not reliable"
            add_note(out, "clones.pcr", text_r, sample=name)
    return out


def _obs(names: list[str], sheet: pd.DataFrame) -> pd.DataFrame:
    rows = sheet.set_index(keys.SAMPLE_ID) if keys.SAMPLE_ID in sheet else sheet
    rows = rows.set_axis(rows.index.astype(str))
    absent = [name for name in names if name not in rows.index]
    if absent:
        raise JoinError(
            f"{len(absent)} samples with clone counts are not in the sheet, {absent[0]!r} first",
            why="without its row a sample has no arm, timepoint or replicate",
            fix=f"Names in the sheet look like {', '.join(map(repr, rows.index[:3]))}.",
        )
    if not rows.index.is_unique:
        raise InputError(f"sample {rows.index[rows.index.duplicated()][0]!r} stands twice in the sheet")
    rows = rows.loc[names]
    obs = pd.DataFrame(index=pd.Index(names, name=keys.SAMPLE_ID))
    for column in rows.columns:
        obs[str(column)] = pd.Categorical(rows[column].fillna("").astype(str))
    return obs


def _one(data: AnnData, name: str) -> tuple[AnnData, pd.DataFrame]:
    if data.n_obs != 1:
        raise InputError(f"{data.n_obs} rows where one was expected", where=f"sample {name}")
    if not data.var_names.is_unique:
        clone = data.var_names[data.var_names.duplicated()][0]
        raise InputError(f"clone {clone!r} stands twice", where=f"sample {name}")
    dense = data.X.toarray() if sparse.issparse(data.X) else np.asarray(data.X)
    counts = dense.astype(np.float64).ravel()
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise InputError(
            "clone counts are negative or missing", where=f"sample {name}", fix="Give counts of 0 or more."
        )
    var = pd.DataFrame({"count": counts}, index=data.var_names.astype(str))
    for column in (keys.SEQUENCE, keys.SOURCE):
        var[column] = data.var[column].astype(str).to_numpy() if column in data.var else ""
    return data, var[counts > 0]


def _unit(samples: Mapping[str, AnnData]) -> tuple[str, int]:
    units = {name: str(data.uns.get(keys.UNS, {}).get(keys.UNIT, "")) for name, data in samples.items()}
    named = sorted({unit for unit in units.values() if unit})
    if len(named) > 1:
        places = ", ".join(f"{next(n for n, u in units.items() if u == unit)}: {unit}" for unit in named)
        raise InputError(f"clone counts in several units ({places})", why="reads, UMIs and cells do not add up")
    return (named[0] if named else "reads"), sum(not unit for unit in units.values())


def _join_var(parts: list[pd.DataFrame]) -> pd.DataFrame:
    stacked = pd.concat([part[[keys.SEQUENCE, keys.SOURCE]] for part in parts])
    order = np.argsort((stacked[keys.SEQUENCE] == "").to_numpy(), kind="stable")
    stacked = stacked.iloc[order]
    var = stacked[~stacked.index.duplicated()].sort_index()
    var.index.name = None
    return var


def _is_low(total: NDArray[np.float64]) -> NDArray[np.bool_]:
    log = np.log(np.maximum(total, 0.5))
    middle = np.median(log)
    mad = 1.4826 * np.median(np.abs(log - middle))
    return np.asarray((log < middle - max(_MADS * mad, np.log(_SHALLOW))) | (total <= 0))


def _note_depth(adata: AnnData) -> None:
    middle = float(np.median(adata.obs[TOTAL]))
    for name in adata.obs_names[adata.obs[LOW_DEPTH]]:
        text = (
            f"low depth: {adata.obs.loc[name, TOTAL]:,.0f} against a median of {middle:,.0f}; "
            "kept in the table, left out of contrasts"
        )
        add_note(adata, "clones.low_depth", text, sample=str(name))


def _refuse_twins(adata: AnnData, columns: list[str]) -> None:
    twins = adata.obs[columns].apply(told).duplicated(keep=False)
    if not twins.any():
        return
    first = adata.obs[columns].apply(told)[twins]
    pair = adata.obs_names[twins][(first == first.iloc[0]).all(axis=1)][:2]
    skip = {*columns, "path", "column", TOTAL, LOW_DEPTH}
    other = [c for c in adata.obs if c not in skip and adata.obs.loc[pair, c].astype(str).nunique() > 1]
    raise InputError(
        f"{pair[0]} and {pair[1]} agree in {', '.join(columns)}",
        why="two libraries of one name cannot be told apart: PCR replicates, biological replicates or two arms?",
        fix=f"They differ in {', '.join(other)}: make it part of arm, or name it as a design column."
        if other
        else "Number them in replicate or pcr_replicate.",
    )


def _pcr_r(counts: NDArray[np.float64]) -> float:
    found = []
    for a, b in combinations(counts, 2):
        seen = (a > 0) | (b > 0)
        x, y = np.log1p(a[seen]), np.log1p(b[seen])
        if seen.sum() > 2 and x.std() > 0 and y.std() > 0:
            found.append(float(np.corrcoef(x, y)[0, 1]))
    return min(found) if found else float("nan")
