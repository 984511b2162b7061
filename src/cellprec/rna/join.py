"""The cells of all samples in one object."""

from __future__ import annotations

from collections.abc import Mapping

import anndata
import pandas as pd
from anndata import AnnData

from cellprec import keys
from cellprec.errors import InputError, JoinError
from cellprec.notes import Note, get_notes, set_notes


def join(samples: Mapping[str, AnnData], *, sheet: pd.DataFrame) -> AnnData:
    """Put the kept cells of all samples into one object, on the genes they share.

    Parameters
    ----------
    samples
        Cells × genes by sample, with ``obs["keep"]`` and ``layers["counts"]``.
    sheet
        The rows of ``samples.csv`` for these samples; its columns are added to ``obs`` as categories.

    Returns
    -------
    AnnData
        Kept cells × shared genes, counts in ``X`` and ``layers["counts"]``.

    Raises
    ------
    JoinError
        The samples share fewer than half of the genes of the largest: different references or naming.
    InputError
        No cell was kept anywhere.

    Examples
    --------
    >>> import numpy as np, scipy.sparse as sp
    >>> one = AnnData(sp.csr_matrix(np.ones((2, 3), "f4")), obs=pd.DataFrame({"sample_id": "a", "keep": [True, False]},
    ...     index=["a:x", "a:y"]))
    >>> one.layers["counts"] = one.X
    >>> join({"a": one}, sheet=pd.DataFrame({"sample_id": ["a"], "batch": ["1"]})).n_obs
    1
    """
    rows = sheet.drop_duplicates(keys.SAMPLE_ID).set_index(keys.SAMPLE_ID)
    parts: list[AnnData] = []
    notes: list[Note] = []
    for name, adata in samples.items():
        notes += get_notes(adata)
        part = adata[adata.obs[keys.KEEP].to_numpy()].copy()
        part.uns, part.obsm = {}, {}
        if not part.n_obs:
            notes.append(Note("rna.no_cells", "no cell passed the quality filters", adata.n_obs, name))
            continue
        parts.append(part)
    if not parts:
        raise InputError("no cell passed the quality filters in any sample", fix="Look at the thresholds of `cells`.")
    joined = anndata.concat(parts, join="inner", merge="first")
    largest = max(part.n_vars for part in parts)
    if joined.n_vars < largest / 2:
        examples = "; ".join(", ".join(part.var_names[:4]) for part in parts[:2])
        raise JoinError(
            f"the RNA samples share only {joined.n_vars:,} of {largest:,} genes",
            where=examples,
            why="the samples were counted against different references or gene names",
            fix="Count all samples against one reference.",
        )
    if joined.n_vars < largest:
        notes.append(Note("rna.genes", "genes that not every sample has were left out", largest - joined.n_vars))
    joined.var = parts[0].var.loc[joined.var_names].copy()
    for column in rows.columns.drop(["path", "modality"], errors="ignore"):
        values = joined.obs[keys.SAMPLE_ID].astype(str).map(rows[column])
        joined.obs[column] = pd.Categorical(values.fillna(""))
    joined.obs[keys.SAMPLE_ID] = pd.Categorical(joined.obs[keys.SAMPLE_ID].astype(str))
    set_notes(joined, list(dict.fromkeys(notes)))
    return joined
