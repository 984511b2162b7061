"""Whether events are on the linear scale that everything after reading counts on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellprec.errors import UsageError

if TYPE_CHECKING:
    from anndata import AnnData


def require_linear(adata: AnnData, *, where: str = "") -> None:
    """Refuse events that were read as stored, where the file has amplifiers, gains or a clock to undo.

    Raises UsageError.

    >>> import anndata
    >>> require_linear(anndata.AnnData(shape=(2, 1)))
    """
    if not bool(adata.uns.get("fcs", {}).get("scaled", True)):
        raise UsageError(
            "the events are as stored in the file, not linear",
            where=where,
            why="its amplifiers, gains or clock were left in by read_fcs(scale=False), and would be taken for light",
            fix="read the file with scale=True",
        )
