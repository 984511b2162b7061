"""Mark the events that are no single, whole, living, rightly measured cell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from cellprec import keys
from cellprec.cytometry.cleaning.acquisition import find_anomalies
from cellprec.cytometry.cleaning.ions import bead_events, find_by_dna, find_odd_clouds
from cellprec.cytometry.cleaning.scatter import find_debris, find_doublets
from cellprec.cytometry.cleaning.viability import find_dead
from cellprec.cytometry.panel import sample_names
from cellprec.notes import add_note

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

REASONS: Final = ("", "margin", "floor", "anomaly", "bead", "cloud", "doublet", "debris", "dead")
_SAYS: Final = {
    "margin": "lie at the upper edge of a detector, where the true value is unknown",
    "floor": "have no forward or side scatter",
    "anomaly": "were measured while the acquisition was disturbed",
    "bead": "are calibration beads, alone or stuck to a cell",
    "cloud": "have an ion cloud of unusual length or shape",
    "doublet": "are two cells measured as one",
    "debris": "are too small, or hold too little DNA, for a whole cell",
    "dead": "take up the stain of dead cells",
}
_FEW: Final = 50


def clean(
    adata: AnnData, *, margins: bool = True, acquisition: bool = True, doublets: bool = True, dead: bool = True
) -> None:
    """Mark events that are no single, whole, living, rightly measured cell, each with all its reasons; delete nothing.

    Writes ``obs["keep"]`` (bool); ``obs["drop_reason"]``, the first reason that holds, in the order below (``""`` for
    events that are kept); ``obsm["drop_reasons"]``, all that hold (bool, events × reasons, named in
    ``uns["drop_reasons"]``); ``uns["acquisition"]``, the bins over time (see ``acquisition_table``). Judged
    sample by sample on ``layers["raw"]`` (``X`` where there is none), in linear units, dead cells on compensated ones.
    Each count is a note, and so is every check that the channels of the file do not allow.

    margins: ``margin``, scatter or fluorescence at or beyond ``var["range"]``; ``floor``, FSC or SSC at or below 0.
    acquisition: ``anomaly``, measured during a clog, a bubble, a jump or a drift (``find_anomalies``).
    doublets: ``bead``, calibration beads of mass cytometry; ``cloud``, event length and Gaussian parameters far off;
    ``doublet``, by area over height or the width of the scatter, or more DNA than the peak; ``debris``, less DNA, or
    too small by its scatter. Source: PeacoQC (Emmaneel et al. 2022, Cytometry A 101A:325).
    dead: ``dead``, above the valley of a viability stain (``find_dead``).

    >>> import anndata, numpy as np, pandas as pd
    >>> var = pd.DataFrame({"channel": ["FSC-A"], "kind": ["scatter"], "range": [1024.0]}, index=["FSC-A"])
    >>> adata = anndata.AnnData(np.array([[500], [1023], [0]], dtype="float32"), var=var)
    >>> clean(adata)
    >>> adata.obs["drop_reason"].tolist()
    ['', 'margin', 'floor']
    """
    raw = np.asarray(adata.layers.get(keys.RAW, adata.X))
    found = np.zeros((adata.n_obs, len(REASONS) - 1), dtype=bool)
    if acquisition:
        anomalies = find_anomalies(adata)
        found[:, REASONS.index("anomaly") - 1] = anomalies.events
        adata.uns[keys.ACQUISITION] = anomalies.bins
    samples = adata.obs[keys.SAMPLE_ID].astype(str).to_numpy() if keys.SAMPLE_ID in adata.obs else None
    for name in sample_names(adata):
        rows = np.arange(adata.n_obs) if samples is None else np.flatnonzero(samples == name)
        values = raw if len(rows) == adata.n_obs else raw[rows]
        own = found[rows]
        if margins:
            own[:, REASONS.index("margin") - 1] = _at_edge(adata, values=values, sample=name)
            own[:, REASONS.index("floor") - 1] = _no_scatter(adata, values=values)
        if doublets:
            _mark_no_cells(adata, found=own, values=values, sample=name)
        if dead:
            usable = _free(own)
            own[:, REASONS.index("dead") - 1] = find_dead(adata, rows=rows, usable=usable, sample=name)
        _say(adata, found=own, sample=name)
        found[rows] = own
    _write(adata, found)


def drop_dead(adata: AnnData) -> None:
    """Mark the dead cells of events that were cleaned before the dyes could be told apart: after unmixing.

    Writes what ``clean`` writes, with the reason ``dead`` beside those that hold already.

    >>> import anndata, numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> values = np.r_[rng.lognormal(5, 0.4, 900), rng.lognormal(9, 0.4, 100)].astype("float32")[:, None]
    >>> var = pd.DataFrame({"marker": ["Zombie NIR"], "kind": ["fluorescence"]}, index=["Zombie NIR"])
    >>> adata = anndata.AnnData(values, var=var)
    >>> clean(adata, dead=False)
    >>> drop_dead(adata)
    >>> int((adata.obs["drop_reason"] == "dead").sum())
    100
    """
    found = np.array(adata.obsm[keys.DROP_REASONS], dtype=bool)
    samples = adata.obs[keys.SAMPLE_ID].astype(str).to_numpy() if keys.SAMPLE_ID in adata.obs else None
    for name in sample_names(adata):
        rows = np.arange(adata.n_obs) if samples is None else np.flatnonzero(samples == name)
        dead = find_dead(adata, rows=rows, usable=_free(found[rows]), sample=name)
        found[rows, REASONS.index("dead") - 1] = dead
        first = dead & (found[rows].sum(axis=1) == 1)
        if first.any():
            text = f"{first.mean():.1%} of the events {_SAYS['dead']}"
            add_note(adata, "events.dead", text, count=int(first.sum()), sample=name)
    _write(adata, found)


def _write(adata: AnnData, found: NDArray[np.bool_]) -> None:
    first = _first(found)
    adata.obs[keys.KEEP] = first == 0
    adata.obs[keys.DROP_REASON] = pd.Categorical(np.array(REASONS)[first], categories=list(REASONS))
    adata.obsm[keys.DROP_REASONS] = found
    adata.uns[keys.DROP_REASONS] = np.array(REASONS[1:])


def _first(found: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The first reason against each event, by its place in ``REASONS``."""
    return np.where(found.any(axis=1), found.argmax(axis=1) + 1, 0)


def _free(found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(~found.any(axis=1))


def _say(adata: AnnData, *, found: NDArray[np.bool_], sample: str) -> None:
    first = _first(found)
    for code, name in enumerate(REASONS):
        count = int((first == code).sum())
        if name and count:
            share = f"{count / len(found):.1%}"
            add_note(adata, f"events.{name}", f"{share} of the events {_SAYS[name]}", count=count, sample=sample)
    lost = int((first > 0).sum())
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
        # integer detectors (8 bits at least) saturate at range - 1; float ones within rounding of the range
        beyond = values[:, i] >= top - max(1.0 if top >= 256 else 0.0, 1e-5 * top)
        # a full detector piles its events up at the edge; more of them far beyond it mean that the edge is elsewhere
        far = values[:, i] > 1.01 * top
        if 2 * far.sum() > beyond.sum():
            text = f"more of {name} lies beyond its declared range {top:g} than at it: the range is not believed"
            add_note(adata, "events.range_wrong", text, sample=sample)
            continue
        at_edge |= beyond
    return at_edge


def _no_scatter(adata: AnnData, *, values: NDArray[np.float32]) -> NDArray[np.bool_]:
    channels = _channel_names(adata)
    scatter = [i for i, name in enumerate(channels) if re.match(r"(FSC|SSC|FS|SS)\b.*(?<!-W)$", name, re.IGNORECASE)]
    scatter = [i for i in scatter if str(adata.var[keys.KIND].iloc[i]) == "scatter"]
    return np.asarray((values[:, scatter] <= 0).any(axis=1))


def _mark_no_cells(adata: AnnData, *, found: NDArray[np.bool_], values: NDArray[np.float32], sample: str) -> None:
    """Mark beads, odd ion clouds, doublets and debris in ``found``, or say what could not be looked for."""
    usable = _free(found)
    if usable.sum() < _FEW:
        text = f"fewer than {_FEW} usable events: doublets were not looked for"
        add_note(adata, "events.no_doublet_check", text, sample=sample)
        return
    if (adata.var[keys.KIND].astype(str) == "mass").any():
        _mark_ions(adata, found=found, values=values, sample=sample)
        return
    more = find_doublets(adata, values=values, usable=usable)
    if isinstance(more, str):
        add_note(adata, "events.no_doublet_check", f"doublets were not looked for: {more}", sample=sample)
    else:
        found[:, REASONS.index("doublet") - 1] = more
        usable = _free(found)
    less = find_debris(adata, values=values, usable=usable)
    if isinstance(less, str):
        add_note(adata, "events.no_debris_check", f"cannot tell debris from cells: {less}", sample=sample)
    else:
        found[:, REASONS.index("debris") - 1] = less


def _mark_ions(adata: AnnData, *, found: NDArray[np.bool_], values: NDArray[np.float32], sample: str) -> None:
    beads = bead_events(adata, values=values)
    if isinstance(beads, str):
        add_note(adata, "events.no_bead_check", f"beads were not looked for: {beads}", sample=sample)
    else:
        found[:, REASONS.index("bead") - 1] = beads
    usable = _free(found)
    odd, judged = find_odd_clouds(adata, values=values, usable=usable)
    found[:, REASONS.index("cloud") - 1] = odd
    if not judged:
        text = "no event length or Gaussian parameters that vary: the shape of ion clouds was not judged"
        add_note(adata, "events.no_cloud_check", text, sample=sample)
    by_dna = find_by_dna(adata, values=values, usable=usable & ~odd)
    if by_dna is None:
        text = "doublets were not looked for: no DNA channel that varies"
        add_note(adata, "events.no_doublet_check", text, sample=sample)
        return
    found[:, REASONS.index("doublet") - 1] = by_dna.more
    found[:, REASONS.index("debris") - 1] = by_dna.less & ~found[:, REASONS.index("bead") - 1]


def _channel_names(adata: AnnData) -> list[str]:
    column = adata.var.get(keys.CHANNEL, adata.var_names)
    return [str(name).strip() for name in column]
