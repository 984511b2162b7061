"""Which isotope a channel of a mass cytometer measures."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from cellprec import keys

if TYPE_CHECKING:
    from anndata import AnnData

_METAL: Final = (
    "Y|Zr|Nb|Mo|Ru|Rh|Pd|Ag|Cd|In|Sn|Te|I|Xe|Cs|Ba|La|Ce|Pr|Nd|Pm|Sm|Eu|Gd|Tb|Dy|Ho|Er|Tm|Yb|Lu|"
    "Hf|Ta|W|Re|Os|Ir|Pt|Au|Hg|Tl|Pb|Bi"
)
_NUMBER: Final = r"[89]\d|1\d\d|20\d"
# Ce140Di, (Ce140)Dd, 140Ce, 140Ce_Beads, CD3_Nd143; not CD140
_ISOTOPE: Final = re.compile(
    rf"(?<![A-Za-z0-9])(?:(?:{_METAL})({_NUMBER})|({_NUMBER})(?:{_METAL}))(?:D[id])?(?![A-Za-z0-9])"
)


def channel_masses(adata: AnnData) -> pd.Series:
    """Return the mass number that each channel measures, nan where its name holds no isotope.

    Looked for in ``var["channel"]`` ($PnN), then in the index of ``var``, then in ``var["marker"]`` ($PnS); only
    channels of kind ``mass`` are asked where ``var["kind"]`` is there.

    >>> import anndata, pandas as pd
    >>> var = pd.DataFrame({"channel": ["Time", "(Ce140)Dd", "CD3"], "marker": ["", "beads", "170Er_CD3"]})
    >>> channel_masses(anndata.AnnData(shape=(0, 3), var=var.set_index("channel", drop=False))).tolist()
    [nan, 140.0, 170.0]
    """
    columns = [adata.var[keys.CHANNEL].astype(str)] if keys.CHANNEL in adata.var else []
    columns.append(adata.var_names.to_series().astype(str))
    columns += [adata.var[keys.MARKER].astype(str)] if keys.MARKER in adata.var else []
    kinds = adata.var[keys.KIND].astype(str).tolist() if keys.KIND in adata.var else ["mass"] * adata.n_vars
    masses = np.full(adata.n_vars, np.nan)
    for i, kind in enumerate(kinds):
        for column in columns:
            found = _ISOTOPE.search(column.iloc[i])
            if found and kind == "mass":
                masses[i] = float(found[1] or found[2])
                break
    return pd.Series(masses, index=adata.var_names)
