"""Mark the events that are no single, whole, measured cell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from cellprec import keys
from cellprec.cytometry.panel import sample_names
from cellprec.notes import add_note

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

REASONS: Final = ("", "margin", "floor", "doublet", "debris")
_SAYS: Final = {
    "margin": "lie at the upper edge of a detector, where the true value is unknown",
    "floor": "have no forward or side scatter",
    "doublet": "are two cells measured as one",
    "debris": "hold too little DNA for a whole cell",
}
_FEW: Final = 50
_MADS: Final = 4.0
_NORMAL: Final = 1.4826
_DNA: Final = re.compile(r"(?:^|[^a-z])ir[-_ ]?19[13]|19[13]ir|^dna\d?$|[_ ]dna\d?", re.IGNORECASE)


def clean(adata: AnnData, *, margins: bool = True, doublets: bool = True) -> None:
    """Mark events at the edge of a detector, without scatter, doublets and debris; nothing is deleted.

    Writes ``obs["keep"]`` (bool) and ``obs["drop_reason"]`` (``""``, ``margin``, ``floor``, ``doublet``, ``debris``;
    the first that holds), judged sample by sample on ``layers["raw"]`` (``X`` where there is none), in linear units.
    Each count is a note, and so is every check that the channels of the file do not allow.

    margins: scatter or fluorescence at or beyond ``var["range"]``, and FSC or SSC at or below 0.
    doublets: area over height of the forward scatter (its width where there is no height) more than 4 scaled median
    absolute deviations above the median, as PeacoQC does (Emmaneel et al. 2022, Cytometry A 101A:325); for
    mass cytometry DNA intercalator more than 4 deviations above (doublet) or below (debris) its peak.

    >>> import anndata, numpy as np, pandas as pd
    >>> var = pd.DataFrame({"channel": ["FSC-A"], "kind": ["scatter"], "range": [1024.0]}, index=["FSC-A"])
    >>> adata = anndata.AnnData(np.array([[500], [1023], [0]], dtype="float32"), var=var)
    >>> clean(adata)
    >>> adata.obs["drop_reason"].tolist()
    ['', 'margin', 'floor']
    """
    raw = np.asarray(adata.layers.get(keys.RAW, adata.X))
    reason = np.zeros(adata.n_obs, dtype=np.int8)
    samples = adata.obs[keys.SAMPLE_ID].astype(str).to_numpy() if keys.SAMPLE_ID in adata.obs else None
    for name in sample_names(adata):
        rows = np.arange(adata.n_obs) if samples is None else np.flatnonzero(samples == name)
        values = raw[rows]
        found = np.zeros(len(rows), dtype=np.int8)
        if margins:
            _mark(found, _at_edge(adata, values=values, sample=name), reason="margin")
            _mark(found, _no_scatter(adata, values=values), reason="floor")
        if doublets:
            high, low = _doublets(adata, values=values, usable=found == 0, sample=name)
            _mark(found, high, reason="doublet")
            _mark(found, low, reason="debris")
        _say(adata, found=found, sample=name)
        reason[rows] = found
    adata.obs[keys.KEEP] = reason == 0
    adata.obs[keys.DROP_REASON] = pd.Categorical(np.array(REASONS)[reason], categories=list(REASONS))


def _mark(found: NDArray[np.int8], where: NDArray[np.bool_], *, reason: str) -> None:
    found[where & (found == 0)] = REASONS.index(reason)


def _say(adata: AnnData, *, found: NDArray[np.int8], sample: str) -> None:
    for code, name in enumerate(REASONS):
        count = int((found == code).sum())
        if name and count:
            share = f"{count / len(found):.1%}"
            add_note(adata, f"events.{name}", f"{share} of the events {_SAYS[name]}", count=count, sample=sample)
    lost = int((found > 0).sum())
    if lost > 0.5 * len(found):
        text = f"only {1 - lost / len(found):.0%} of the events are left after cleaning: look at this sample"
        add_note(adata, "events.heavy_loss", text, count=lost, sample=sample)


def _at_edge(adata: AnnData, *, values: NDArray[np.float32], sample: str) -> NDArray[np.bool_]:
    at_edge = np.zeros(len(values), dtype=bool)
    if keys.RANGE not in adata.var:
        add_note(adata, "events.no_range", "the file declares no range: events at its edge stay in", sample=sample)
        return at_edge
    for i, (name, kind, top) in enumerate(
        zip(_channel_names(adata), adata.var[keys.KIND].astype(str), adata.var[keys.RANGE].astype(float), strict=True)
    ):
        if kind not in ("scatter", "fluorescence") or not np.isfinite(top) or top <= 1 or name.endswith("-W"):
            continue
        # integer detectors saturate at range - 1; float ones within rounding of the range
        beyond = values[:, i] >= top - max(1.0, 1e-5 * top)
        if beyond.mean() > 0.5 and (values[:, i] > 1.01 * top).any():
            add_note(
                adata,
                "events.range_wrong",
                f"most of {name} lies beyond its declared range {top:g}, which is not believed",
                sample=sample,
            )
            continue
        at_edge |= beyond
    return at_edge


def _no_scatter(adata: AnnData, *, values: NDArray[np.float32]) -> NDArray[np.bool_]:
    channels = _channel_names(adata)
    scatter = [i for i, name in enumerate(channels) if re.match(r"(FSC|SSC|FS|SS)\b.*(?<!-W)$", name, re.IGNORECASE)]
    scatter = [i for i in scatter if str(adata.var[keys.KIND].iloc[i]) == "scatter"]
    return np.asarray((values[:, scatter] <= 0).any(axis=1))


def _doublets(
    adata: AnnData, *, values: NDArray[np.float32], usable: NDArray[np.bool_], sample: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    none = np.zeros(len(values), dtype=bool)
    if usable.sum() < _FEW:
        text = f"fewer than {_FEW} usable events: doublets were not looked for"
        add_note(adata, "events.no_doublet_check", text, sample=sample)
        return none, none
    channels = _channel_names(adata)
    upper = [name.upper() for name in channels]
    for wide, high in (("FSC-A", "FSC-H"), ("FSC-W", ""), ("SSC-A", "SSC-H"), ("SSC-W", "")):
        if wide in upper and (not high or high in upper):
            measure = values[:, upper.index(wide)].astype(np.float64)
            if high:
                height = values[:, upper.index(high)].astype(np.float64)
                measure = np.divide(measure, height, out=np.full(len(values), np.inf), where=height > 0)
            return _beyond(measure, usable=usable)[0], none
    dna = _dna(adata)
    if dna and (adata.var[keys.KIND].astype(str) == "mass").any():
        measure = np.arcsinh(values[:, dna].astype(np.float64) / 5).mean(axis=1)
        if measure[usable].std() > 0:
            return _beyond(measure, usable=usable, center=_peak(measure[usable]))
    text = "no area and height or width of the scatter, and no DNA channel: doublets were not looked for"
    add_note(adata, "events.no_doublet_check", text, sample=sample)
    return none, none


def _beyond(
    measure: NDArray[np.float64], *, usable: NDArray[np.bool_], center: float | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    judged = measure[usable & np.isfinite(measure)]
    if center is None:
        center = float(np.median(judged))
        spread = _NORMAL * float(np.median(np.abs(judged - center)))
    else:
        # the main peak only: debris on the left and doublets (twice the DNA, ln 2 to the right) must not widen it
        near = np.abs(judged - center)
        spread = _NORMAL * float(np.median(near[near < np.log(2)]))
    # a floor, so that coarse detectors whose deviation is zero do not lose every event off the median
    reach = _MADS * max(spread, 0.01 * abs(center))
    return measure > center + reach, measure < center - reach


def _peak(values: NDArray[np.float64]) -> float:
    """The highest peak of a distribution in its upper part: cells hold more DNA than debris."""
    counts, edges = np.histogram(values, bins=100)
    smooth = np.convolve(counts, np.ones(5) / 5, mode="same")
    middle = (edges[:-1] + edges[1:]) / 2
    upper = middle > 0.5 * np.quantile(values, 0.9)
    return float(middle[upper][np.argmax(smooth[upper])])


def _dna(adata: AnnData) -> list[int]:
    markers = adata.var[keys.MARKER].astype(str) if keys.MARKER in adata.var else pd.Series("", index=adata.var_names)
    labels = zip(_channel_names(adata), markers, strict=True)
    return [i for i, pair in enumerate(labels) if any(_DNA.search(label) for label in pair)]


def _channel_names(adata: AnnData) -> list[str]:
    column = adata.var.get(keys.CHANNEL, adata.var_names)
    return [str(name).strip() for name in column]
