"""What the shape of the light pulse says of an event: doublets, debris, no particle at all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from cellprec import keys
from cellprec.cytometry.cleaning.valley import find_valley
from cellprec.cytometry.panel import lineage_channels

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

_PULSE: Final = re.compile(
    r"^(?P<light>FSC|SSC|FS|SS)(?P<laser>.*?)[-_ ]?(?P<measure>AREA|HEIGHT|WIDTH|INT|PEAK|TOF|A|H|W)(?:[-_ ]LIN)?$"
)
_MEASURES: Final = {"AREA": "A", "INT": "A", "A": "A", "HEIGHT": "H", "PEAK": "H", "H": "H"}
_MADS: Final = 4.0
# more than this of the events are no doublets of the others
_TOO_MANY: Final = 0.25
_NORMAL: Final = 1.4826
# debris scatters forward a quarter of the light of the smallest cells, at most
_SMALLER: Final = 0.25
_COFACTOR: Final = 150.0
# where the brightest tenth of the small particles is twice as bright as that of the cells, they are cells
_BRIGHT: Final = 0.9


class Pulse(NamedTuple):
    """Where one detector of scatter has its area, height and width: places in ``var``, or none."""

    forward: bool
    area: int | None
    height: int | None
    width: int | None


def pulses(adata: AnnData) -> list[Pulse]:
    """Return the scatter detectors with what each measured of the pulse, forward scatter first.

    Names are those of BD, Cytek and Attune (``FSC-A``, ``SSC-B-H``) and of Beckman Coulter (``FS INT``, ``FS PEAK``,
    ``FS TOF``).

    >>> import anndata, pandas as pd
    >>> var = pd.DataFrame({"kind": "scatter"}, index=["SSC-A", "FSC-A", "FSC-H"])
    >>> pulses(anndata.AnnData(shape=(0, 3), var=var))[0]
    Pulse(forward=True, area=1, height=2, width=None)
    """
    channel = adata.var.get(keys.CHANNEL, adata.var_names.to_series()).astype(str).str.strip().str.upper().tolist()
    kind = adata.var[keys.KIND].astype(str).tolist()
    held: dict[tuple[str, str], dict[str, int]] = {}
    for i, name in enumerate(channel):
        match = _PULSE.match(name)
        if match and kind[i] == "scatter":
            measure = _MEASURES.get(match["measure"], "W")
            held.setdefault((match["light"][0], match["laser"]), {}).setdefault(measure, i)
    found = [Pulse(light == "F", own.get("A"), own.get("H"), own.get("W")) for (light, _), own in held.items()]
    return sorted(found, key=lambda pulse: not pulse.forward)


def find_doublets(adata: AnnData, *, values: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.bool_] | str:
    """Find two cells measured as one: area over height (else the width) beyond 4 scaled deviations of the median.

    values: events × channels of one sample, linear; usable: on which the median is taken. Returns why it cannot be
    told, where no detector of scatter has area and height, or width, or where more than a quarter of the events would
    be doublets. Source: PeacoQC (Emmaneel et al. 2022, Cytometry A 101A:325).

    >>> import anndata, pandas as pd
    >>> area = np.r_[np.linspace(95, 105, 99), 180].astype("float32")
    >>> adata = anndata.AnnData(np.column_stack([area, np.full(100, 100, "float32")]))
    >>> adata.var = pd.DataFrame({"kind": "scatter"}, index=["FSC-A", "FSC-H"])
    >>> np.flatnonzero(find_doublets(adata, values=adata.X, usable=np.ones(100, dtype=bool))).tolist()
    [99]
    """
    for pulse in pulses(adata):
        for above, below in ((pulse.area, pulse.height), (pulse.width, None)):
            if above is None or (above == pulse.area and below is None):
                continue
            measure = values[:, above].astype(np.float64)
            if below is not None:
                height = values[:, below].astype(np.float64)
                measure = np.divide(measure, height, out=np.full(len(values), np.inf), where=height > 0)
            judged = measure[usable & np.isfinite(measure)]
            if not len(judged) or np.ptp(judged) == 0:
                continue
            center = float(np.median(judged))
            spread = _NORMAL * float(np.median(np.abs(judged - center)))
            # a floor, so that coarse detectors whose deviation is zero do not lose every event off the median
            beyond = np.asarray(measure > center + _MADS * max(spread, 0.01 * abs(center)))
            if beyond[usable].mean() > _TOO_MANY:
                return f"{beyond[usable].mean():.0%} of the events would be, so the pulses are not those of one kind"
            return beyond
    return "no area and height, or width, of the scatter"


def find_debris(adata: AnnData, *, values: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.bool_] | str:
    """Find particles too small for a cell, or say why it cannot be told.

    Below the valley of the forward scatter (area, in logarithms) lies debris if it scatters at most a quarter of the
    light of the cells above, less to the side too, and is on no stained channel brighter than they are: small
    cells beside large ones (lymphocytes beside granulocytes) are, and stay.

    >>> import anndata, pandas as pd
    >>> adata = anndata.AnnData(np.ones((9, 1), dtype="float32"), var=pd.DataFrame({"kind": ["mass"]}, index=["CD3"]))
    >>> find_debris(adata, values=adata.X, usable=np.ones(9, dtype=bool))
    'no forward and side scatter'
    """
    detectors = pulses(adata)
    places = [
        next((p.area if p.area is not None else p.height for p in detectors if p.forward == f), None) for f in (1, 0)
    ]
    if places[0] is None or places[1] is None:
        return "no forward and side scatter"
    stained = [int(adata.var_names.get_loc(name)) for name in lineage_channels(adata)]
    if len(stained) < 2:
        return "no stained channels that tell small cells from debris"
    forward, side = (values[:, i].astype(np.float64) for i in places)
    judged = usable & (forward > 0)
    cut = find_valley(np.log(forward[judged]), apart=-np.log(_SMALLER)) if judged.any() else np.nan
    if np.isnan(cut):
        return "the forward scatter has no clear valley below the cells"
    small = forward < np.exp(cut)
    left, right = judged & small, judged & ~small
    if np.median(side[left]) > np.median(side[right]):
        return "the small particles scatter more to the side than the cells"
    signal = np.arcsinh(values[:, stained] / _COFACTOR)
    brighter = np.quantile(signal[left], _BRIGHT, axis=0) - np.quantile(signal[right], _BRIGHT, axis=0)
    if (brighter > np.log(2)).any():
        return "the small particles are stained like cells"
    return np.asarray(small)
