"""What a mass cytometer says of an event: calibration beads, its DNA, its length and the shape of its ion cloud."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pandas as pd

from cellprec import keys
from cellprec.cytometry.cleaning.valley import find_valley
from cellprec.cytometry.mass.beads import find_beads
from cellprec.cytometry.mass.masses import channel_masses

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

_DNA: Final = re.compile(r"(?:^|[^a-z])ir[-_ ]?19[13]|19[13]ir|^dna\d?$|[_ ]dna\d?", re.IGNORECASE)
# the metals of the beads of four elements
_EQ4: Final = (140, 151, 153, 165, 175)
_SHAPE: Final = re.compile(r"^(center|offset|width|residual)$", re.IGNORECASE)
_LENGTH: Final = re.compile(r"^(event|cell)[ _]?length$", re.IGNORECASE)
_COFACTOR: Final = 5.0
_MADS: Final = 4.0
# the parameters of a pulse have long tails
_SHAPE_MADS: Final = 6.0
_NORMAL: Final = 1.4826
# a parameter of which more than this lies outside its own limits is not one hill, and says nothing
_TOO_MANY: Final = 0.25


class ByDna(NamedTuple):
    """Events with more DNA than one cell, and with less."""

    more: NDArray[np.bool_]
    less: NDArray[np.bool_]


def _labels(adata: AnnData) -> list[tuple[str, str]]:
    channel = adata.var.get(keys.CHANNEL, adata.var_names.to_series()).astype(str).str.strip()
    marker = adata.var[keys.MARKER].astype(str) if keys.MARKER in adata.var else pd.Series("", index=adata.var_names)
    return list(zip(channel, marker, strict=True))


def _places(adata: AnnData, pattern: re.Pattern[str]) -> list[int]:
    return [i for i, pair in enumerate(_labels(adata)) if any(pattern.search(label) for label in pair)]


def bead_events(adata: AnnData, *, values: NDArray[np.float32]) -> NDArray[np.bool_] | str:
    """Find calibration beads, alone or stuck to a cell, or say why it cannot be told.

    A bead of the four elements holds cerium, europium, holmium and lutetium at once, which no cell does (see
    ``beads.find_beads``). values: events × channels of one sample, in counts.

    >>> import anndata, pandas as pd
    >>> var = pd.DataFrame({"kind": "mass"}, index=["Ce140Di", "Eu151Di", "Eu153Di", "Ho165Di", "Lu175Di", "Ir191Di"])
    >>> rng = np.random.default_rng(0)
    >>> cells = rng.poisson([2, 2, 2, 2, 2, 300], (900, 6))
    >>> beads = rng.normal([900] * 5 + [1], [40] * 5 + [1], (100, 6))
    >>> values = np.vstack([cells, beads]).astype("float32")
    >>> int(bead_events(anndata.AnnData(values, var=var), values=values)[900:].sum()) >= 98
    True
    """
    masses = channel_masses(adata).to_numpy()
    channels = [int(np.flatnonzero(masses == mass)[0]) for mass in _EQ4 if (masses == mass).any()]
    if len(channels) < len(_EQ4):
        return "not all bead channels are there"
    signal = values[:, channels].astype(np.float64)
    found = find_beads(signal, dna=values[:, _dna(adata)].astype(np.float64), position=np.arange(len(values)))
    return found.holding


def _dna(adata: AnnData) -> list[int]:
    return _places(adata, _DNA)


def find_by_dna(adata: AnnData, *, values: NDArray[np.float32], usable: NDArray[np.bool_]) -> ByDna | None:
    """Find doublets and debris by the DNA intercalator: 4 deviations of its own side off the peak of whole cells.

    Debris only where it has a hill of its own, below a valley. None without such a channel, or where it is constant.

    >>> import anndata, pandas as pd
    >>> var = pd.DataFrame({"kind": "mass"}, index=["Ir191Di"])
    >>> values = np.r_[np.random.default_rng(0).normal(500, 40, 500), [5] * 40, 1500].astype("float32")[:, None]
    >>> found = find_by_dna(anndata.AnnData(values, var=var), values=values, usable=np.ones(541, dtype=bool))
    >>> int(found.less.sum()), np.flatnonzero(found.more).tolist()
    (40, [540])
    """
    channels = _dna(adata)
    if not channels or not (adata.var[keys.KIND].astype(str) == "mass").any():
        return None
    measure = np.arcsinh(values[:, channels].astype(np.float64) / _COFACTOR).mean(axis=1)
    judged = measure[usable & np.isfinite(measure)]
    if not len(judged) or judged.std() == 0:
        return None
    center = _peak(judged)
    # the main peak only: debris on the left and doublets (twice the DNA, ln 2 to the right) must not widen it
    near = judged[np.abs(judged - center) < np.log(2)] - center
    more, less = (
        _MADS * max(_NORMAL * float(np.median(side)) if len(side) else 0.0, 0.01 * abs(center))
        for side in (near[near >= 0], -near[near <= 0])
    )
    # a tail of the cells is no debris: that has a hill of its own
    hill = find_valley(judged[judged < center + more]) < center
    return ByDna(measure > center + more, (measure < center - less) & hill)


def _peak(values: NDArray[np.float64]) -> float:
    """The highest peak of a distribution in its upper part: cells hold more DNA than debris."""
    counts, edges = np.histogram(values, bins=100)
    smooth = np.convolve(counts, np.ones(5) / 5, mode="same")
    middle = (edges[:-1] + edges[1:]) / 2
    upper = middle > 0.5 * np.quantile(values, 0.9)
    return float(middle[upper][np.argmax(smooth[upper])])


def find_odd_clouds(
    adata: AnnData, *, values: NDArray[np.float32], usable: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], list[str]]:
    """Find events whose ion cloud has no usual length, center, offset, width or residual; name what was judged.

    Each parameter is judged against its own median, in units of the scaled deviation of its own side (they are
    skewed), 6 of them, where it is not constant and forms one hill. Source of the parameters: Bagwell et al. 2020
    (Cytometry A 97A:184).

    >>> import anndata, pandas as pd
    >>> var = pd.DataFrame({"kind": ["other", "mass"]}, index=["Event_length", "Ir191Di"])
    >>> length = np.r_[np.random.default_rng(0).normal(25, 3, 500).round(), 100].astype("float32")
    >>> values = np.column_stack([length, length])
    >>> odd, judged = find_odd_clouds(anndata.AnnData(values, var=var), values=values, usable=np.ones(501, dtype=bool))
    >>> np.flatnonzero(odd).tolist(), judged
    ([500], ['Event_length'])
    """
    odd = np.zeros(len(values), dtype=bool)
    judged: list[str] = []
    if not (adata.var[keys.KIND].astype(str) == "mass").any():
        return odd, judged
    for i in [*_places(adata, _LENGTH), *_places(adata, _SHAPE)]:
        measure = values[:, i].astype(np.float64)
        inside = measure[usable & np.isfinite(measure)]
        if len(inside) < 100 or np.ptp(inside) == 0:
            continue
        center = float(np.median(inside))
        outside = np.zeros(len(values), dtype=bool)
        for sign in (-1, 1):
            away = sign * (inside - center)
            spread = _NORMAL * float(np.median(away[away >= 0]))
            # whole numbers deviate by one at least
            spread = max(spread, 1.0 if (inside == inside.round()).all() else 1e-3 * np.ptp(inside))
            outside |= sign * (measure - center) > _SHAPE_MADS * spread
        if outside[usable].mean() <= _TOO_MANY:
            odd |= outside
            judged.append(str(adata.var_names[i]))
    return odd, judged
