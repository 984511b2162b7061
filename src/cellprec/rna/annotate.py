"""Clusters get the name of the cell population whose markers they show."""

from __future__ import annotations

from collections import Counter
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
    "gd T": ("CD3D", "CD3E", "TRDC", "TRGC1", "TRDV2", "TRGV9", "CD4-", "CD8B-"),
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
# where the populations of a family cannot be told apart, the family may still be told from the others
FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    "T cell": (*_T_CELL, "LYZ-", "MS4A1-", "CD79A-"),
    "monocyte": ("LYZ", "S100A9", "FCN1", "CST3", "AIF1", "CD3D-", "MS4A1-", "CD79A-"),
}
KIN: Final[dict[str, str]] = {
    "CD4 T": "T cell",
    "CD8 T": "T cell",
    "gd T": "T cell",
    "classical mono": "monocyte",
    "non-classical mono": "monocyte",
}
# neither is called where the panel cannot show the other
_COUNTERPART: Final[dict[str, str]] = {
    "CD4 T": "CD8 T",
    "CD8 T": "CD4 T",
    "classical mono": "non-classical mono",
    "non-classical mono": "classical mono",
}

# a marker that no cluster shows beyond this log(1 + counts per 10,000) is weighed against this instead
_LEAST_HIGH = 1.0
_LOWEST_SCORE = 0.25
_LOWEST_MARGIN = 0.08
# below this the cluster is a mixture, whatever its mean looks like
_LEAST_AGREEMENT = 0.3
_FEWEST_MARKERS = 2


def annotate(adata: AnnData, *, markers: Mapping[str, Sequence[str]] | None = None) -> None:
    """Name each cluster after the cell population whose markers it shows, or leave it "unassigned".

    Every marker is measured against the cluster that shows it most (mean log-normalized expression, at least 1), so
    that it counts between 0 and 1 and RNA leaking from broken cells counts little. A population scores the mean of its
    markers less the mean of those that must be absent (written with a minus behind the gene, ``"CD8A-"``). A cluster
    takes the population of the highest score, if that is at least 0.25 and 0.08 ahead of the next. Where that fails
    for T cells or monocytes, the family is tried in the same way ("T cell"). Else, and where fewer than 30 % of the
    cells agree by their own scores, the cluster is "unassigned".
    Proliferation is a state, not a population: see ``score_signatures``. ``markers`` replaces the built-in human
    immune populations. A population that lacks markers in the panel is left out, with a note, unless 2 are there and
    one of them belongs to no other population.

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
    cluster = adata.obs[keys.CLUSTER].astype(str).to_numpy()
    chosen = MARKERS if markers is None else markers
    families = FAMILIES if markers is None else {}
    by_cluster, by_cell = _scores(adata, cluster=cluster, markers={**chosen, **families}, alone=set(families))
    population = np.full(adata.n_obs, keys.UNASSIGNED, dtype=object)
    confidence = np.zeros(adata.n_obs, dtype=np.float32)
    single = [name for name in by_cell.columns if name in chosen]
    if single:
        best = np.array(single, dtype=object)[by_cell[single].to_numpy().argmax(axis=1)]
        for name, score in by_cluster.iterrows():
            rows = cluster == name
            called = _name(score, single=single)
            agree = float(np.mean([called in (own, KIN.get(own)) for own in best[rows]]))
            if called != keys.UNASSIGNED and agree >= _LEAST_AGREEMENT:
                population[rows], confidence[rows] = called, agree
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


def _name(score: pd.Series, *, single: list[str]) -> str:
    ranked = score[single].sort_values(ascending=False, kind="stable")
    best = str(ranked.index[0])
    counterpart = _COUNTERPART.get(best)
    told_apart = counterpart is None or counterpart in single or best not in KIN
    if told_apart and _clear(ranked.iloc[0], others=ranked.iloc[1:]):
        return best
    for family in score.index.difference(single):
        others = [name for name in single if KIN.get(name) != family]
        if _clear(score[family], others=score[others]):
            return str(family)
    return keys.UNASSIGNED


def _clear(score: float, *, others: pd.Series) -> bool:
    return bool(score >= _LOWEST_SCORE and (others.empty or score - others.max() >= _LOWEST_MARGIN))


def _scores(
    adata: AnnData, *, cluster: np.ndarray, markers: Mapping[str, Sequence[str]], alone: set[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return clusters × populations and cells × populations."""
    wanted, absent = _usable(adata, markers=markers, alone=alone)
    genes = sorted({gene for name in wanted for gene in (*wanted[name], *absent[name])})
    held = adata.X[:, adata.var_names.get_indexer(genes)]
    cells = pd.DataFrame(held.toarray() if sparse.issparse(held) else np.asarray(held), columns=genes)
    clusters = cells.groupby(cluster).mean()
    high = clusters.max().clip(lower=_LEAST_HIGH)

    def score(part: pd.DataFrame) -> pd.DataFrame:
        share = (part / high).clip(upper=1.0)
        return pd.DataFrame(
            {
                name: share[wanted[name]].mean(axis=1) - (share[absent[name]].mean(axis=1) if absent[name] else 0.0)
                for name in wanted
            },
            index=part.index,
        )

    return score(clusters), score(cells)


def _usable(
    adata: AnnData, *, markers: Mapping[str, Sequence[str]], alone: set[str]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return present and absent markers of the populations that the panel can show; ``alone`` share theirs freely."""
    panel = set(adata.var_names)
    sets = {name: list(dict.fromkeys(gene for gene in markers[name] if not gene.endswith("-"))) for name in markers}
    shared = Counter(gene for name, genes in sets.items() if name not in alone for gene in genes)
    wanted: dict[str, list[str]] = {}
    absent: dict[str, list[str]] = {}
    for name, genes in sets.items():
        if not genes:
            raise UsageError(f"population {name!r} has no marker that is present", fix="name the genes it shows")
        found = [gene for gene in genes if gene in panel]
        own = name in alone or any(shared[gene] == 1 for gene in found)
        if len(found) < len(genes) and (len(found) < _FEWEST_MARKERS or not own):
            add_note(
                adata,
                "rna.population_markers_missing",
                f"Population {name}: cannot tell, {len(found)} of its {len(genes)} markers are in the panel"
                f"{'' if own or not found else ', none of them its own'}.",
            )
            continue
        wanted[name] = found
        absent[name] = list(
            dict.fromkeys(gene[:-1] for gene in markers[name] if gene.endswith("-") and gene[:-1] in panel)
        )
    return wanted, absent
