"""``cp.check``: is this AnnData what cellprec, scanpy and the rest expect."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from cellprec.errors import Problem, StudyError


def check(adata: AnnData) -> None:
    """Check that an object can be written, read by others and joined by name.

    Parameters
    ----------
    adata
        Any of cellprec's objects.

    Raises
    ------
    StudyError
        With every problem: duplicate names, object columns that are not text, ``/`` in keys, embeddings that are
        not two-dimensional numbers, columns of ``obs`` or ``var`` of mixed types.

    Examples
    --------
    >>> check(AnnData(np.ones((2, 2), "f4")))
    """
    problems = []
    for axis, frame in (("obs", adata.obs), ("var", adata.var)):
        if not frame.index.is_unique:
            twice = frame.index[frame.index.duplicated()][0]
            what = f"the names of {axis} are not unique: {twice!r} stands twice"
            problems.append(Problem("slots.names", what, column=axis, fix=f"Call adata.{axis}_names_make_unique()."))
        for column in frame:
            if frame[column].dtype == object and not frame[column].dropna().map(lambda v: isinstance(v, str)).all():
                what = f"{axis}[{column!r}] mixes types"
                problems.append(Problem("slots.object", what, column=str(column), fix="Make it text or numbers."))
    for slot in ("obs", "var", "obsm", "varm", "layers", "uns"):
        for key in getattr(adata, slot):
            if "/" in str(key):
                what = f"the key {key!r} of {slot} holds a '/', which HDF5 takes for a folder"
                problems.append(Problem("slots.slash", what, column=str(key), fix="Rename it."))
    for key, value in adata.obsm.items():
        if not isinstance(value, pd.DataFrame) and np.ndim(value) != 2:
            what = f"obsm[{key!r}] is not two-dimensional"
            problems.append(Problem("slots.shape", what, column=key, fix="Store it as cells × dimensions."))
    if problems:
        raise StudyError(problems, what=f"the object has {len(problems)} problems")
