"""Which droplets hold two cells."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData as _AnnData

from cellprec import keys
from cellprec.errors import UsageError
from cellprec.notes import add_note
from cellprec.rna.panel import count_matrix, kept, samples_of

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse

DOUBLET = "doublet"
_FEWEST_CELLS = 100
_RATE_PER_CELL = 0.008 / 1000


def doublets(adata: AnnData, *, expected_rate: float | None = None, seed: int = 0) -> None:
    """Mark the droplets that look like two cells of different kinds caught together, sample by sample.

    Scrublet is run on the kept cells of each sample. ``expected_rate`` is the share of doublets expected; by default
    0.8 % per 1,000 cells of the sample (10x Genomics, Chromium user guide). Two cells of the *same* kind cannot be
    seen this way, so in a sorted sample the number found is a lower bound. Where a sample has fewer than 100 kept
    cells, or the scores of simulated doublets do not part into two groups, the answer is "cannot tell": the score
    stays empty, no cell is dropped, and a note says so. A rate that is more than 3 times the expected one and above
    20 % is not believed: scores are kept, no cell is dropped, and a note says so.

    Writes ``obs["doublet_score"]`` (0 to 1, missing where it cannot be told) and sets ``obs["keep"]`` and
    ``obs["drop_reason"]`` ("doublet"). Raises UsageError where ``expected_rate`` is not between 0 and 1, InputError
    where the values are not counts.

    Source: Wolock et al. 2019 (Cell Syst 8:281), as in scanpy.

    >>> import anndata, numpy as np
    >>> from cellprec.notes import get_notes
    >>> adata = anndata.AnnData(np.ones((3, 4), dtype="float32"))
    >>> adata.obs["sample_id"] = "P01"
    >>> doublets(adata)
    >>> get_notes(adata)[0].text
    'Doublets of sample P01: cannot tell, 3 kept cells are fewer than 100.'
    """
    if expected_rate is not None and not 0 < expected_rate < 1:
        raise UsageError(f"expected_rate is {expected_rate}", fix="give a share between 0 and 1, such as 0.06")
    sample = samples_of(adata).to_numpy()
    counts = count_matrix(adata)
    keep = kept(adata).copy()
    reason = _reasons(adata)
    score = np.full(adata.n_obs, np.nan, dtype=np.float32)
    for name in sorted(set(sample)):
        here = sample == name
        rows = np.flatnonzero(here & keep)
        expected = expected_rate if expected_rate is not None else min(_RATE_PER_CELL * float(here.sum()), 0.5)
        if rows.size < _FEWEST_CELLS:
            _cannot_tell(adata, name=name, why=f"{rows.size} kept cells are fewer than {_FEWEST_CELLS}")
            continue
        found = _scrublet(counts[rows], expected=expected, seed=seed)
        if isinstance(found, str):
            _cannot_tell(adata, name=name, why=found)
            continue
        score[rows], called = found
        if _believable(adata, name=name, called=called, expected=expected):
            keep[rows[called]] = False
            reason[rows[called]] = DOUBLET
    adata.obs[keys.DOUBLET_SCORE] = score
    adata.obs[keys.KEEP] = keep
    adata.obs[keys.DROP_REASON] = pd.Categorical(reason)


def _reasons(adata: AnnData) -> np.ndarray:
    if keys.DROP_REASON not in adata.obs:
        return np.full(adata.n_obs, "", dtype=object)
    reason: np.ndarray = adata.obs[keys.DROP_REASON].astype(object).to_numpy().copy()
    return reason


def _scrublet(counts: sparse.csr_matrix, *, expected: float, seed: int) -> tuple[np.ndarray, np.ndarray] | str:
    """Return scores and calls in the order of the cells, or the reason why there are none."""
    cells = _AnnData(counts.astype(np.float32).copy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            sc.pp.scrublet(cells, expected_doublet_rate=expected, random_state=seed, verbose=False)
        except ValueError as error:
            return f"the cells differ in too few genes to compare them ({error})"
    if "threshold" not in cells.uns["scrublet"]:
        return "the scores of simulated doublets do not part into two groups"
    called = cells.obs["predicted_doublet"].astype("boolean").fillna(False).to_numpy(dtype=bool)
    return cells.obs["doublet_score"].to_numpy(dtype=np.float32), called


def _believable(adata: AnnData, *, name: str, called: np.ndarray, expected: float) -> bool:
    rate = float(called.mean())
    if rate > 3 * expected and rate > 0.2:
        add_note(
            adata,
            "cells.doublets_not_applied",
            f"Sample {name}: {rate:.0%} of the cells were called doublets where {expected:.1%} are expected. "
            "That is not believed; no cell was dropped as a doublet. Look at doublet_score.",
            count=int(called.sum()),
            sample=name,
        )
        return False
    add_note(
        adata,
        "cells.doublets",
        f"Sample {name}: {called.sum():,} of {called.size:,} cells ({rate:.1%}) were dropped as doublets "
        f"({expected:.1%} expected). Two cells of one kind caught together cannot be seen.",
        count=int(called.sum()),
        sample=name,
    )
    return True


def _cannot_tell(adata: AnnData, *, name: str, why: str) -> None:
    add_note(adata, "cells.doublets_cannot_tell", f"Doublets of sample {name}: cannot tell, {why}.", sample=name)
