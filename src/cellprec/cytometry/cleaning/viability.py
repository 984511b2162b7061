"""Dead cells, by the channel that stains them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

from cellprec import keys
from cellprec.cytometry.cleaning.valley import find_valley
from cellprec.notes import add_note, get_notes

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

_SAYS_SO: Final = re.compile(
    r"live|dead|viab|(?:^|[^a-z0-9])l[/_\-.]?d(?:$|[^a-z0-9])|zombie|sytox|ghost ?dye|fixable|(?:^|[^a-z])fvs|"
    r"(?:^|[^a-z])fvd|7-?aad|propidium|(?:^|[^a-z0-9])pi$|^pi(?:$|[^a-z0-9])|dapi|draq7|to-?pro|helix ?np|cisplatin|"
    r"(?:^|[^a-z])cis-?pt|efluor ?780|^aqua$|amine",
    re.IGNORECASE,
)
# an isotope of the stains of dead cells alone, without an antibody on it
_ISOTOPE: Final = re.compile(r"^(?:19[458]pt|pt19[458]|103rh|rh103)(?:di|dd)?$", re.IGNORECASE)
# a channel that stains unwanted cells too: bright does not mean dead there
_SHARED: Final = re.compile(r"dump|lin(?:eage)?(?:$|[^a-z])|cd\d|hla|tcr|ig[gdm]", re.IGNORECASE)
_COFACTOR: Final = {"fluorescence": 150.0, "mass": 5.0}
# how much brighter the dead must be, in steps of arcsinh: fivefold where the signal is well above noise
_BRIGHTER: Final = float(np.log(5))
_FEW: Final = 200


def viability_channels(adata: AnnData) -> list[str]:
    """Return the channels that stain dead cells, by the name of their marker (Live/Dead, Zombie, 7-AAD, cisplatin, …).

    A channel that has no marker is taken by its own name only where the panel names no marker at all: an
    instrument calls a detector 7-AAD whether or not the dye is in the tube.

    >>> import anndata, pandas as pd
    >>> var = pd.DataFrame({"channel": ["V500-A", "7-AAD-A"], "marker": ["Live_Dead Aqua", "CD8"],
    ...                     "kind": "fluorescence"}, index=["LD", "CD8"])
    >>> viability_channels(anndata.AnnData(shape=(0, 2), var=var))
    ['LD']
    """
    measured = adata.var[keys.KIND].astype(str).isin(list(_COFACTOR)).to_numpy()
    channel = adata.var.get(keys.CHANNEL, adata.var_names.to_series()).astype(str).str.strip().to_numpy()
    marker = np.array(
        [str(name).strip() for name in adata.var.get(keys.MARKER, adata.var_names.to_series())], dtype=object
    )
    marker[np.isin(marker, ("nan", "None", "-"))] = ""
    named = (marker != "") & (marker != channel)
    label = channel if not (named & measured).any() else np.where(named, marker, "")
    chosen = [bool(_SAYS_SO.search(name) or _ISOTOPE.match(name)) for name in label]
    areas = set(channel[label != ""])
    repeats = [name[-2:] in ("-H", "-W") and f"{name[:-2]}-A" in areas for name in channel]
    found = np.flatnonzero(measured & np.array(chosen, dtype=bool) & ~np.array(repeats, dtype=bool))
    return [str(name) for name in adata.var_names[found]]


def find_dead(adata: AnnData, *, rows: NDArray[np.intp], usable: NDArray[np.bool_], sample: str) -> NDArray[np.bool_]:
    """Find the dead cells of one sample: those above the valley of a viability stain.

    rows: the rows of the sample; usable: which of them are whole single cells, on which the valley is sought.
    Judged on compensated values where there are, as arcsinh. No cell is called dead, and a note says so, where no
    channel stains the dead, where another marker shares it (a dump channel), where its light was not told apart from
    that of other dyes, where the distribution has no valley at most half as high as its lower hill, or where the
    bright cells are less than five times brighter.

    >>> import anndata, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> values = np.r_[rng.lognormal(5, 0.4, 900), rng.lognormal(9, 0.4, 100)].astype("float32")[:, None]
    >>> var = pd.DataFrame({"marker": ["Zombie NIR"], "kind": ["fluorescence"]}, index=["Zombie NIR"])
    >>> adata = anndata.AnnData(values, var=var)
    >>> dead = find_dead(adata, rows=np.arange(1000), usable=np.ones(1000, dtype=bool), sample="")
    >>> int(dead[:900].sum()), int(dead[900:].sum())
    (0, 100)
    """
    dead = np.zeros(len(rows), dtype=bool)
    channels = viability_channels(adata)
    alone = [name for name in channels if not _SHARED.search(_label(adata, name))]
    if not channels:
        add_note(adata, "events.no_dead_check", "no viability stain: dead cells were not looked for", sample=sample)
        return dead
    if not alone:
        text = f"{', '.join(channels)} stains other cells than dead ones too: dead cells were not looked for"
        add_note(adata, "events.no_dead_check", text, sample=sample)
        return dead
    if _uncompensated(adata, alone, sample=sample):
        text = f"{', '.join(alone)} was not compensated, and other dyes shine into it: dead cells were not looked for"
        add_note(adata, "events.no_dead_check", text, sample=sample)
        return dead
    layer = adata.layers.get(keys.COMPENSATED, adata.X)
    flat = []
    for name in alone:
        i = int(adata.var_names.get_loc(name))
        cofactor = _COFACTOR[str(adata.var[keys.KIND].iloc[i])]
        values = np.arcsinh(np.asarray(layer[rows, i], dtype=np.float64) / cofactor)
        cut = find_valley(values[usable], apart=_BRIGHTER) if usable.sum() >= _FEW else np.nan
        high = values > cut
        if np.isnan(cut):
            flat.append(name)
            continue
        dead |= high
    if flat:
        text = f"cannot tell dead from live cells by {', '.join(flat)}: no clear valley, or one too near"
        add_note(adata, "events.no_dead_valley", text, sample=sample)
    return dead


def _uncompensated(adata: AnnData, names: list[str], *, sample: str) -> bool:
    """Whether a dye is judged among others that were never told apart; what came compensated is noted otherwise."""
    kinds = adata.var[keys.KIND].astype(str)
    if not (kinds[names] == "fluorescence").any() or (kinds == "fluorescence").sum() < 2:
        return False
    notes = {(note.code, note.sample) for note in get_notes(adata)}
    never = keys.COMPENSATED not in adata.layers
    return never or bool(notes & {("events.no_spillover", sample), ("events.no_spillover", "")})


def _label(adata: AnnData, name: str) -> str:
    marker = str(adata.var[keys.MARKER][name]) if keys.MARKER in adata.var else name
    return re.sub(r"live[ _/&-]*dead", "", marker, flags=re.IGNORECASE)
