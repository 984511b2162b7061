"""Clusters get the name of the cell population whose markers they show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy import sparse

from cellprec import keys
from cellprec.errors import InputError, UsageError
from cellprec.notes import add_note
from cellprec.rna.panel import require_normalized

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

_T_CELL = ("CD3D", "CD3E", "CD3G", "TRAC")

# a gene with a minus behind it must be absent
MARKERS: Final[dict[str, tuple[str, ...]]] = {
    "CD4 T": (*_T_CELL, "CD4", "CD40LG", "CD8A-", "CD8B-", "TRDC-"),
    "CD8 T": (*_T_CELL, "CD8A", "CD8B", "CD4-", "CD40LG-", "TRDC-"),
    "gd T": ("CD3D", "CD3E", "CD3G", "TRDC", "TRGC1", "TRDV2", "TRGV9", "CD4-", "CD8B-"),
    "NK": ("NKG7", "GNLY", "KLRD1", "KLRF1", "NCAM1", "FCER1G", "TYROBP", "CD3D-", "CD3G-", "CD14-", "LYZ-"),
    "B": ("MS4A1", "CD79A", "CD79B", "CD19", "BANK1", "CD37", "CD3D-", "JCHAIN-", "MZB1-"),
    "plasma": ("MZB1", "JCHAIN", "SDC1", "TNFRSF17", "DERL3", "XBP1", "MS4A1-", "LILRA4-", "CD3D-"),
    "classical mono": ("CD14", "LYZ", "S100A8", "S100A9", "VCAN", "FCN1", "FCGR3A-", "CD3D-"),
    "non-classical mono": ("FCGR3A", "MS4A7", "CDKN1C", "LST1", "AIF1", "FCN1", "CD14-", "CD3D-", "NKG7-"),
    "DC": ("FCER1A", "CD1C", "CLEC10A", "CLEC9A", "HLA-DQA1", "HLA-DPB1", "CD14-", "MS4A1-", "CD3D-"),
    "pDC": ("LILRA4", "CLEC4C", "IL3RA", "IRF7", "TCF4", "PLD4", "CD3D-", "MS4A1-"),
    "platelets": ("PPBP", "PF4", "GP9", "ITGA2B", "TUBB1", "GNG11", "CD3D-"),
    "erythroid": ("HBB", "HBA1", "HBA2", "ALAS2", "AHSP", "GYPA", "CD3D-"),
}
# where two populations of one family cannot be told apart, the family still can
FAMILIES: Final[dict[str, str]] = {
    "CD4 T": "T cell",
    "CD8 T": "T cell",
    "gd T": "T cell",
    "classical mono": "monocyte",
    "non-classical mono": "monocyte",
}

# log(1 + counts per 10,000) above which a marker counts as fully there: without the cap, LYZ alone would decide
_CAP = 1.0
_LOWEST_SCORE = 0.2
_LOWEST_MARGIN = 0.05
_FEWEST_MARKERS = 2


def annotate(adata: AnnData, *, markers: Mapping[str, Sequence[str]] | None = None) -> None:
    """Name each cluster after the cell population whose markers it shows, or leave it "unassigned".

    For every population a cell scores the mean of its present markers less the mean of those that must be absent
    (written with a minus behind the gene, ``"CD8A-"``), each marker between 0 and 1 (log-normalized expression,
    capped at 1). A cluster takes the population with the highest mean score, if that is at least 0.2 and 0.05 ahead
    of the next; if only its kin are as close (CD4, CD8 and γδ T; the monocytes), the name of the family ("T cell");
    else "unassigned". Proliferation is a state, not a population: see ``score_signatures``. ``markers`` replaces the
    built-in human immune populations; those with fewer than 2 present genes in the panel are left out, with a note.

    Writes ``obs["population"]`` (category) and ``obs["population_confidence"]``: the share of the cluster's cells whose
    own highest score is the population of the cluster, 0 where it is unassigned. It tells agreement, not the
    probability of being right. Raises InputError where there are no clusters or X holds counts, UsageError where a
    population has no marker.

    Source of the built-in markers: Hao et al. 2021 (Cell 184:3573, Azimuth PBMC), Domínguez Conde et al. 2022
    (Science 376:eabl5197, CellTypist), Villani et al. 2017 (Science 356:eaah4573) for dendritic cells and monocytes.

    >>> import anndata, numpy as np
    >>> adata = anndata.AnnData(np.array([[1.5, 1.2, 0.0], [0.0, 0.0, 1.4]], dtype="float32"))
    >>> adata.var_names = ["CD3D", "CD3E", "MS4A1"]
    >>> adata.obs["cluster"] = ["0", "1"]
    >>> annotate(adata, markers={"T": ["CD3D", "CD3E"], "not T": ["MS4A1", "CD19", "CD3D-"]})
    >>> list(adata.obs["population"])
    ['T', 'unassigned']
    """
    require_normalized(adata, verb="annotate")
    if keys.CLUSTER not in adata.obs:
        raise InputError("there are no clusters to name", where="obs['cluster']", fix="call cellprec.rna.cluster first")
    families = FAMILIES if markers is None else {}
    score = _cell_scores(adata, markers=MARKERS if markers is None else markers)
    cluster = adata.obs[keys.CLUSTER].astype(str)
    population = pd.Series(keys.UNASSIGNED, index=adata.obs_names, dtype=object)
    confidence = np.zeros(adata.n_obs, dtype=np.float32)
    if score.shape[1]:
        own = score.to_numpy().argmax(axis=1)
        kin = np.array([families.get(name, name) for name in score.columns], dtype=object)
        for name, mean in score.groupby(cluster.to_numpy()).mean().iterrows():
            rows = (cluster == name).to_numpy()
            called = _name(mean, families=families)
            population[rows] = called
            agrees = (score.columns[own[rows]] == called) | (kin[own[rows]] == called)
            confidence[rows] = float(np.mean(agrees)) if called != keys.UNASSIGNED else 0.0
    adata.obs[keys.POPULATION] = pd.Categorical(population)
    adata.obs[keys.POPULATION_CONFIDENCE] = confidence
    lost = int((population == keys.UNASSIGNED).sum())
    if lost:
        add_note(
            adata,
            "rna.unassigned",
            f"{lost:,} of {adata.n_obs:,} cells are in clusters whose markers fit no population clearly: unassigned.",
            count=lost,
        )


def _name(mean: pd.Series, *, families: Mapping[str, str]) -> str:
    ranked = mean.sort_values(ascending=False, kind="stable")
    if ranked.iloc[0] < _LOWEST_SCORE:
        return keys.UNASSIGNED
    close = ranked.index[ranked > ranked.iloc[0] - _LOWEST_MARGIN]
    if len(close) == 1:
        return str(close[0])
    kin = {families.get(name, name) for name in close}
    return str(kin.pop()) if len(kin) == 1 else keys.UNASSIGNED


def _cell_scores(adata: AnnData, *, markers: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Return cells × populations."""
    place = {gene: i for i, gene in enumerate(adata.var_names)}
    scores: dict[str, np.ndarray] = {}
    for name, genes in markers.items():
        wanted = list(dict.fromkeys(gene for gene in genes if not gene.endswith("-")))
        absent = list(dict.fromkeys(gene[:-1] for gene in genes if gene.endswith("-")))
        if not wanted:
            raise UsageError(f"population {name!r} has no marker that is present", fix="name at least two genes")
        found = [place[gene] for gene in wanted if gene in place]
        if len(found) < min(_FEWEST_MARKERS, len(wanted)):
            add_note(
                adata,
                "rna.population_markers_missing",
                f"Population {name}: cannot tell, {len(found)} of its {len(wanted)} markers are in the panel.",
            )
            continue
        scores[name] = _mean_capped(adata, genes=found)
        against = [place[gene] for gene in absent if gene in place]
        if against:
            scores[name] = scores[name] - _mean_capped(adata, genes=against)
    return pd.DataFrame(scores, index=adata.obs_names)


def _mean_capped(adata: AnnData, *, genes: list[int]) -> np.ndarray:
    held = adata.X[:, genes]
    dense = held.toarray() if sparse.issparse(held) else np.asarray(held)
    mean: np.ndarray = np.minimum(dense / _CAP, 1.0).mean(axis=1, dtype=np.float64)
    return mean
