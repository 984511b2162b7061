"""The clone of each cell."""

from __future__ import annotations

import pandas as pd
from anndata import AnnData

from cellprec import keys
from cellprec.errors import JoinError
from cellprec.notes import add_note

_FEW = 0.05


def attach_clones(adata: AnnData, *, clones: pd.DataFrame) -> None:
    """Write the clone of each cell into the cells, joined by cell name.

    Parameters
    ----------
    adata
        Cells × genes, named ``sample_id:barcode``.
    clones
        By cell name, a column ``clone_id``; empty where the cell's receptor tells no clone.

    Writes ``obs["clone_id"]``: categorical, empty text where a cell has no clone.

    Raises
    ------
    JoinError
        Almost none of the cells with a receptor are among the cells of the samples they name.

    Examples
    --------
    >>> adata = AnnData(obs=pd.DataFrame(index=["a:AC", "a:GT"]))
    >>> attach_clones(adata, clones=pd.DataFrame({"clone_id": ["P1|TRB:CASS"]}, index=["a:GT"]))
    >>> adata.obs["clone_id"].tolist()
    ['', 'P1|TRB:CASS']
    """
    samples = {name.split(":", 1)[0] for name in adata.obs_names}
    here = clones[[name.split(":", 1)[0] in samples for name in clones.index]]
    shared = here.index.intersection(adata.obs_names)
    if len(here) and len(shared) < _FEW * min(len(here), adata.n_obs):
        raise JoinError(
            f"only {len(shared):,} of {len(here):,} cells with a receptor are among the cells with RNA",
            where=f"receptors: {', '.join(here.index[:3])}; RNA: {', '.join(adata.obs_names[:3])}",
            why="clones would be given to the wrong cells, or to none",
            fix="Use one sample_id for the RNA and the V(D)J file of a tube, and barcodes written alike in both.",
        )
    found = clones[keys.CLONE_ID].reindex(adata.obs_names).fillna("")
    adata.obs[keys.CLONE_ID] = pd.Categorical(found.astype(str))
    text = f"{len(shared):,} of {adata.n_obs:,} kept cells have a receptor"
    add_note(adata, "rna.receptors", text, count=len(shared))
