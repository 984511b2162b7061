"""The channels that measure light of dyes, and which of their values are at the end of the detector."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from cellprec import keys

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def detector_names(adata: AnnData) -> list[str]:
    """Return the channels that measure light of dyes, of each detector the area where it is there.

    >>> import anndata, pandas as pd
    >>> var = pd.DataFrame({"channel": ["FSC-A", "B1-A", "B1-H"], "kind": ["scatter"] + ["fluorescence"] * 2})
    >>> detector_names(anndata.AnnData(shape=(0, 3), var=var.set_index("channel", drop=False)))
    ['B1-A']
    """
    channels = channel_names(adata)
    areas = set(channels)
    kinds = adata.var[keys.KIND].astype(str).tolist() if keys.KIND in adata.var else ["fluorescence"] * len(channels)
    return [
        name
        for name, kind in zip(channels, kinds, strict=True)
        if kind == "fluorescence" and not (re.search(r"-[HW]$", name) and f"{name[:-2]}-A" in areas)
    ]


def is_saturated(adata: AnnData, *, detectors: list[str], values: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Tell for each event whether a detector was at its end, where the true value is unknown.

    values: events × ``detectors``, as read.

    >>> import anndata, numpy as np, pandas as pd
    >>> adata = anndata.AnnData(np.array([[5.0], [1023.0]]), var=pd.DataFrame({"range": [1024.0]}, index=["B1-A"]))
    >>> is_saturated(adata, detectors=["B1-A"], values=adata.X)
    array([False,  True])
    """
    if keys.RANGE not in adata.var:
        return np.zeros(len(values), dtype=bool)
    channels = channel_names(adata)
    top = adata.var[keys.RANGE].to_numpy(dtype=np.float64)[[channels.index(name) for name in detectors]]
    top = np.where(np.isfinite(top) & (top > 1), top - np.maximum(1.0, 1e-5 * top), np.inf)
    # a range that most events lie beyond is not believed
    top = np.where((values > top).mean(axis=0) > 0.5 if len(values) else False, np.inf, top)
    return np.asarray((values >= top).any(axis=1))


def channel_names(adata: AnnData) -> list[str]:
    """Return the name of each channel ($PnN), the row of ``var`` where there is none.

    >>> import anndata, pandas as pd
    >>> channel_names(anndata.AnnData(shape=(0, 1), var=pd.DataFrame({"channel": ["B1-A"]}, index=["CD3"])))
    ['B1-A']
    """
    return [str(name).strip() for name in adata.var.get(keys.CHANNEL, adata.var_names)]
