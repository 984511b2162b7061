"""Which channel a name means: markers, channels and their common spellings, and the channels that tell cells apart."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final

import pandas as pd

from cellprec import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData

# other names of one antigen, as they stand on tubes and in $PnS; the first is the name compared
_SYNONYMS: Final = (
    ("cd3", "cd3e"),
    ("cd8", "cd8a"),
    ("cd197", "ccr7"),
    ("cd56", "ncam"),
    ("cd294", "crth2"),
    ("cd127", "il7ra", "il7r"),
    ("cd25", "il2ra"),
    ("cd123", "il3r", "il3ra"),
    ("cd279", "pd1"),
    ("cd183", "cxcr3"),
    ("cd185", "cxcr5"),
    ("cd196", "ccr6"),
    ("cd194", "ccr4"),
    ("tcrgd", "tcrγδ", "tcryd", "gdtcr", "tcrgammadelta"),
    ("tcrab", "tcrαβ", "abtcr", "tcrb"),
    ("hladr",),
    ("igd",),
)
_CANONICAL: Final = {name: names[0] for names in _SYNONYMS for name in names}
# the metals of mass cytometry, spelled as elements are: cadmium is Cd, so that CD19 is an antigen
_METAL: Final = (
    "(?:Y|Rh|Ru|Pd|Ag|Cd|In|Sn|I|Xe|Cs|Ba|La|Ce|Pr|Nd|Pm|Sm|Eu|Gd|Tb|Dy|Ho|Er|Tm|Yb|Lu|Hf|Ta|Os|Ir|Pt|Au|Hg|Pb|Bi)"
)
_ISOTOPE: Final = re.compile(rf"^(?:\d{{2,3}}{_METAL}|{_METAL}\d{{2,3}})(?:Di|Dd)?$")
# an isotope alone ("133Cs", "190BCKG") is no antibody
_BACKGROUND: Final = re.compile(rf"^(?:\d{{2,3}}{_METAL}|{_METAL}\d{{2,3}}|\d*BCKG\d*)(?:_?D[id])?$")
_NOT_LINEAGE: Final = re.compile(
    r"dna|intercalator|(?:^|[^a-z])ir[-_ ]?19[13]|19[13]ir|bead|viab|live|dead|l[/_-]d|zombie|cisplatin|"
    r"19[458]pt|pt19[458]|dapi|7-?aad|propidium|barcode|autofluorescence|^af(?:-a)?$",
    re.IGNORECASE,
)


def canonical_names(name: str) -> set[str]:
    """Return the spellings under which a marker may be asked for, in one common form.

    >>> sorted(canonical_names("146Nd_CD8a"))
    ['146ndcd8a', 'cd8']
    >>> canonical_names("HLA-DR") & canonical_names("173Yb_HLA-DR")
    {'hladr'}
    """
    parts = [part for part in re.split(r"[_\s/|:;,()\[\]]+", name) if part]
    plain = {_plain(name)} | {_plain(part) for part in parts if not _ISOTOPE.match(part)}
    return {_CANONICAL.get(form, form) for form in plain if form}


def _plain(name: str) -> str:
    return re.sub(r"[^0-9a-zα-ω]+", "", name.lower())


def find_channels(adata: AnnData, *, names: Iterable[str], within: Iterable[str] | None = None) -> dict[str, str]:
    """Return for each name the row of ``var`` that it means; a name that means none or several is left out.

    A name is looked up among ``var_names``, then ``var["channel"]`` ($PnN), then ``var["marker"]`` ($PnS), each
    exactly, and last by common spelling (``CD8`` finds ``146Nd_CD8a``, ``CCR7`` finds ``CD197``).
    within: the rows of ``var`` to look among, all of them by default.

    >>> import anndata, pandas as pd
    >>> var = pd.DataFrame({"channel": ["Nd146Di"], "marker": ["146Nd_CD8a"]}, index=["146Nd_CD8a"])
    >>> find_channels(anndata.AnnData(shape=(0, 1), var=var), names=["CD8", "Nd146Di", "CD4"])
    {'CD8': '146Nd_CD8a', 'Nd146Di': '146Nd_CD8a'}
    """
    var = adata.var if within is None else adata.var.loc[list(within)]
    columns = [[str(name) for name in var.index]]
    columns += [var[c].astype(str).tolist() for c in (keys.CHANNEL, keys.MARKER) if c in var]
    spelled = [set().union(*(canonical_names(c[i]) for c in columns)) for i in range(len(var))]
    found: dict[str, str] = {}
    for name in names:
        hits: list[int] = []
        for column in columns:
            hits = hits or [i for i, other in enumerate(column) if other == name]
        wanted = canonical_names(name)
        hits = hits or [i for i, forms in enumerate(spelled) if forms & wanted]
        if len(hits) == 1:
            found[name] = columns[0][hits[0]]
    return found


def near_misses(adata: AnnData, *, name: str) -> list[str]:
    """Return the channel and marker names that look most like a name which was not found.

    >>> import anndata, pandas as pd
    >>> adata = anndata.AnnData(shape=(0, 1), var=pd.DataFrame({"channel": ["FITC-A"]}, index=["CD4"]))
    >>> near_misses(adata, name="FTIC-A")
    ['FITC-A']
    """
    known = list(adata.var_names)
    for column in (keys.CHANNEL, keys.MARKER):
        if column in adata.var:
            known += adata.var[column].astype(str).tolist()
    return difflib.get_close_matches(name, list(dict.fromkeys(known)), n=3, cutoff=0.5)


def lineage_channels(adata: AnnData) -> list[str]:
    """Return the channels that tell cells apart: stained fluorescence and mass channels.

    Left out are scatter and time, DNA, beads, viability and barcoding channels, channels without a marker in a panel
    that names its markers, and heights and widths of a channel whose area is there and, in such a panel, named too.

    >>> import anndata, pandas as pd
    >>> var = pd.DataFrame({"channel": ["FSC-A", "B1-A", "B2-A", "B3-A"], "marker": ["", "CD3", "Live_Dead", ""],
    ...                     "kind": ["scatter"] + ["fluorescence"] * 3}, index=["FSC-A", "CD3", "Live_Dead", "B3-A"])
    >>> lineage_channels(anndata.AnnData(shape=(0, 4), var=var))
    ['CD3']
    """
    var = adata.var
    channel = var[keys.CHANNEL].astype(str) if keys.CHANNEL in var else var.index.to_series().astype(str)
    marker = var[keys.MARKER].astype(str).str.strip() if keys.MARKER in var else pd.Series("", index=var.index)
    marker = marker.mask(marker.str.lower().isin(["nan", "none", "-"]), "")
    measured = var[keys.KIND].astype(str).isin(["fluorescence", "mass"])
    named = marker.ne("") & marker.ne(channel) & ~marker.str.match(_BACKGROUND)
    if (measured & named).any():
        measured &= named
    chosen = []
    areas = set(channel[measured])
    for name in var.index[measured]:
        label = f"{marker[name]} {channel[name]} {name}"
        repeats = re.fullmatch(r"(.+)-[HW]", channel[name])
        if _NOT_LINEAGE.search(label) or (repeats and f"{repeats[1]}-A" in areas):
            continue
        chosen.append(str(name))
    return chosen


def sample_names(adata: AnnData) -> list[str]:
    """Return the samples of an object in order of appearance, one empty name where none is given.

    >>> import anndata, pandas as pd
    >>> sample_names(anndata.AnnData(obs=pd.DataFrame({"sample_id": ["b", "a", "b"]}, index=["0", "1", "2"])))
    ['b', 'a']
    """
    if keys.SAMPLE_ID not in adata.obs:
        return [""]
    return [str(name) for name in adata.obs[keys.SAMPLE_ID].astype(str).unique()]
