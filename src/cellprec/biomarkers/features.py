"""What one modality says of a patient at a timepoint: fractions, scores, diversity, table columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from cellprec import keys
from cellprec.notes import add_note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

    from cellprec.biomarkers.places import Places

_PSEUDO = 0.5
_SIGNATURE = "signature_"
_LOW_DEPTH = "low_depth"
_DRAWS = 20
_UNIT = [keys.PATIENT_ID, keys.TIMEPOINT]


@dataclass(frozen=True)
class Block:
    """Features of one modality at one timepoint: patients × features, with family and unit of each."""

    modality: str
    timepoint: str
    values: pd.DataFrame
    about: tuple[tuple[str, str], ...]


def cell_blocks(adata: AnnData, *, modality: str, places: Places, notes: AnnData, min_cells: int) -> list[Block]:
    """Return population fractions, signature scores and the CAR fraction of cells or events, per timepoint."""
    cells = _placed_cells(adata, modality=modality, places=places, notes=notes)
    sizes = cells.groupby(_UNIT, observed=True).size()
    thin = sizes.index[sizes < min_cells]
    if len(thin):
        text = f"{len(thin)} patient timepoints have fewer than {min_cells} {modality} cells and count as not measured"
        add_note(notes, f"biomarkers.{modality}_few_cells", text, count=len(thin))
        cells = cells[~pd.MultiIndex.from_frame(cells[_UNIT]).isin(thin)]
    blocks = list(_fractions(cells, modality=modality, notes=notes))
    means = _means(cells)
    for timepoint, group in means.groupby(level=keys.TIMEPOINT, sort=False):
        values = group.droplevel(keys.TIMEPOINT)
        about = tuple(("CAR", "fraction") if c == "car:fraction" else ("signatures", "score") for c in values)
        blocks.append(_block(modality, str(timepoint), values, about))
    return blocks


def _placed_cells(adata: AnnData, *, modality: str, places: Places, notes: AnnData) -> pd.DataFrame:
    wanted = [c for c in adata.obs if c in (keys.POPULATION, keys.CAR_DETECTED) or str(c).startswith(_SIGNATURE)]
    cells = pd.DataFrame(adata.obs[wanted])
    cells[keys.SAMPLE_ID] = adata.obs[keys.SAMPLE_ID].astype(str)
    if keys.KEEP in adata.obs:
        cells = cells[adata.obs[keys.KEEP].to_numpy(bool)]
    found = places.find(cells[keys.SAMPLE_ID], modality=modality)
    unknown = sorted(set(cells[keys.SAMPLE_ID]).difference(found.index))
    nameless = sorted(found.index[found[keys.PATIENT_ID] == ""])
    for code, text, samples in (
        ("not_in_sheet", "are not in the sheet", unknown),
        ("no_patient", "name no patient", nameless),
    ):
        if samples:
            said = f"{len(samples)} {modality} samples {text} and were left out: {', '.join(samples[:5])}"
            add_note(notes, f"biomarkers.{modality}_{code}", said, count=len(samples))
    cells = pd.DataFrame(cells.loc[~cells[keys.SAMPLE_ID].isin([*unknown, *nameless])])
    for column in _UNIT:
        cells[column] = cells[keys.SAMPLE_ID].map(found[column]).astype(str)
    pooled = found.loc[found.index.isin(cells[keys.SAMPLE_ID])].groupby(_UNIT).size()
    if (pooled > 1).any():
        text = f"{int((pooled > 1).sum())} patient timepoints have several {modality} samples, pooled by cell counts"
        add_note(notes, f"biomarkers.{modality}_pooled", text, count=int((pooled > 1).sum()))
    return cells


def _fractions(cells: pd.DataFrame, *, modality: str, notes: AnnData) -> Iterator[Block]:
    if keys.POPULATION not in cells:
        return
    named = cells[keys.POPULATION].astype("object").fillna(keys.UNASSIGNED).astype(str)
    counts = cells.assign(**{keys.POPULATION: named}).groupby([*_UNIT, keys.POPULATION]).size().unstack(fill_value=0)
    total = counts.to_numpy().sum()
    counts = counts.drop(columns=keys.UNASSIGNED, errors="ignore")
    if counts.empty or not counts.shape[1]:
        return
    left_out = total - counts.to_numpy().sum()
    text = f"{modality} fractions are centred log-ratios of cell counts + {_PSEUDO}; {left_out / total:.0%} of the "
    add_note(notes, f"biomarkers.{modality}_clr", text + "cells are unassigned and stand outside", count=int(left_out))
    for timepoint, group in counts.groupby(level=keys.TIMEPOINT, sort=False):
        values = log_ratios(group.droplevel(keys.TIMEPOINT)).add_prefix("fraction:")
        yield _block(modality, str(timepoint), values, (("fractions", "clr"),) * values.shape[1])


def log_ratios(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the centred log-ratios of patients × populations counts, 0.5 added to each.

    The centre is the mean log of the populations seen in at least half of the rows, so that a population
    that is almost never there does not move all others (Aitchison 1986).

    >>> log_ratios(pd.DataFrame({"B": [9.5], "T": [39.5]})).round(2)
          B     T
    0 -0.69  0.69
    """
    logs = np.log(counts.to_numpy(float) + _PSEUDO)
    common = (counts > 0).to_numpy().mean(axis=0) >= 0.5
    centre = logs[:, common] if common.any() else logs
    return pd.DataFrame(logs - centre.mean(axis=1, keepdims=True), index=counts.index, columns=counts.columns)


def _means(cells: pd.DataFrame) -> pd.DataFrame:
    scores = [str(c) for c in cells if str(c).startswith(_SIGNATURE)]
    columns = {c: f"signature:{c.removeprefix(_SIGNATURE)}" for c in scores}
    if keys.CAR_DETECTED in cells:
        columns[keys.CAR_DETECTED] = "car:fraction"
    if not columns:
        return pd.DataFrame(index=pd.MultiIndex.from_arrays([[], []], names=_UNIT))
    numbers = cells[list(columns)].astype(float).rename(columns=columns)
    return numbers.groupby([cells[c] for c in _UNIT]).mean()


def clone_blocks(adata: AnnData, *, places: Places, notes: AnnData, min_cells: int, seed: int) -> list[Block]:
    """Return clonality and the log effective number of clones per patient and timepoint, at equal depth."""
    found = _placed_samples(adata, places=places, notes=notes)
    rows = {unit: [adata.obs_names.get_loc(s) for s in group.index] for unit, group in found.groupby(_UNIT)}
    counts = {unit: _pooled(adata, at) for unit, at in rows.items()}
    counts = {unit: row for unit, row in counts.items() if row.sum() >= min_cells}
    if not counts:
        return []
    unit_name = str(adata.uns.get(keys.UNS, {}).get(keys.UNIT, "counts"))
    whole = all(np.array_equal(row, np.rint(row)) for row in counts.values())
    depth = int(min(row.sum() for row in counts.values())) if whole else 0
    said = (
        f"compared at {depth} {unit_name} per patient timepoint, {_DRAWS} draws"
        if whole
        else ("of the values as they are: they are not counts, so depths could not be made equal")
    )
    add_note(notes, "biomarkers.clones_depth", f"diversity of clones {said}", count=depth or None)
    thin = len(rows) - len(counts)
    if thin:
        text = f"{thin} patient timepoints have fewer than {min_cells} {unit_name} of clones and count as not measured"
        add_note(notes, "biomarkers.clones_few", text, count=thin)
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({unit: _diversity(counts[unit], depth=depth, rng=rng) for unit in sorted(counts)}).T
    table.index = table.index.set_names(_UNIT)
    table.columns = pd.Index(["diversity:clonality", "diversity:hill_1"])
    about = (("diversity", "1 - Pielou"), ("diversity", "log clones"))
    return [
        _block("clones", str(timepoint), group.droplevel(keys.TIMEPOINT), about)
        for timepoint, group in table.groupby(level=keys.TIMEPOINT, sort=False)
    ]


def _placed_samples(adata: AnnData, *, places: Places, notes: AnnData) -> pd.DataFrame:
    """Return patient and timepoint of each sample: its own columns first, the sheet where it has none."""
    found = pd.DataFrame(index=adata.obs_names)
    known = places.of("clones") if keys.PATIENT_ID in adata.obs else places.find(adata.obs_names, modality="clones")
    for column in _UNIT:
        own = adata.obs[column] if column in adata.obs else known[column].reindex(found.index)
        found[column] = own.astype("object").fillna("").astype(str).to_numpy()
    if _LOW_DEPTH in adata.obs:
        low = adata.obs[_LOW_DEPTH].astype(str).to_numpy() == "True"
        if low.any():
            text = f"{int(low.sum())} clone samples of low depth were left out of the diversity of their patients"
            add_note(notes, "biomarkers.clones_low_depth", text, count=int(low.sum()))
        found = found[~low]
    return found[found[keys.PATIENT_ID] != ""]


def _pooled(adata: AnnData, at: list[int]) -> np.ndarray:
    rows = adata.X[at]
    return np.asarray(rows.sum(axis=0), dtype=float).ravel() if sparse.issparse(rows) else rows.sum(axis=0, dtype=float)


def _diversity(counts: np.ndarray, *, depth: int, rng: np.random.Generator) -> tuple[float, float]:
    seen = counts[counts > 0]
    if depth and depth < seen.sum():
        draws = rng.multivariate_hypergeometric(np.rint(seen).astype(np.int64), depth, size=_DRAWS, method="marginals")
    else:
        draws = seen[None, :]
    results = [_clonality_and_entropy(row[row > 0] / row.sum()) for row in draws]
    clonality, entropy = np.mean(results, axis=0)
    return float(clonality), float(entropy)


def _clonality_and_entropy(shares: np.ndarray) -> tuple[float, float]:
    entropy = float(-(shares * np.log(shares)).sum())
    return (1 - entropy / np.log(shares.size) if shares.size > 1 else 1.0), entropy


def table_block(adata: AnnData, *, sample_id: str, places: Places) -> Block:
    """Return the columns of a patients × features table, its timepoint from the sheet."""
    held = places.of("table")
    timepoint = str(held.at[sample_id, keys.TIMEPOINT]) if sample_id in held.index else ""
    values = adata.to_df().astype(float)
    values.index = values.index.astype(str).str.strip()
    stem = places.stem(sample_id)
    units = adata.var[keys.FEATURE_UNIT] if keys.FEATURE_UNIT in adata.var else pd.Series("", index=adata.var_names)
    about = tuple((stem, str(unit)) for unit in units.astype("object").fillna(""))
    return _block("table", timepoint, values.add_prefix(f"{stem}:"), about)


def _block(modality: str, timepoint: str, values: pd.DataFrame, about: tuple[tuple[str, str], ...]) -> Block:
    at = f"@{timepoint}" if timepoint else ""
    return Block(modality, timepoint, values.add_prefix(f"{modality}:").add_suffix(at), about)
