"""The genes of the simulated cells: real human symbols, and what each cell population expresses."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import pandas as pd

TRANSGENE: Final = "CAR_CD19"

# Populations as the flow panel names them, and the groups of genes.txt that their cells express.
POPULATION_PROGRAMS: Final[dict[str, tuple[str, ...]]] = {
    "CD4 naive": ("T", "CD4", "naive"),
    "CD4 memory": ("T", "CD4", "memory"),
    "CD8 naive": ("T", "CD8", "naive"),
    "CD8 memory": ("T", "CD8", "cytotoxic", "GZMK"),
    "B": ("B",),
    "NK": ("NK", "cytotoxic"),
    "Classical monocytes": ("monocyte",),
    "DC": ("DC",),
}
T_CELLS: Final = tuple(name for name, programs in POPULATION_PROGRAMS.items() if "T" in programs)


@cache
def gene_groups() -> pd.DataFrame:
    """Return genes × groups: the weight of a gene where its group is expressed, 0 elsewhere; the transgene is the last.

    >>> groups = gene_groups()
    >>> groups.index.is_unique, groups.index[-1], float(groups.at["CD8A", "CD8"])
    (True, 'CAR_CD19', 8.0)
    """
    weights: dict[str, dict[str, float]] = {}
    for line in Path(__file__).with_name("genes.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            group, weight, *words = line.split()
            weights.setdefault(group, {}).update({gene: float(weight) for word in words for gene in _spell(word)})
    weights["transgene"] = {TRANSGENE: 1.0}
    genes = dict.fromkeys(gene for members in weights.values() for gene in members)
    return pd.DataFrame(weights, index=pd.Index(genes)).fillna(0.0)


def _spell(word: str) -> list[str]:
    """Spell a family out: ``PSMA:1-3,5`` is PSMA1, PSMA2, PSMA3, PSMA5."""
    prefix, colon, members = word.partition(":")
    if not colon:
        return [word]
    names = []
    for member in members.split(","):
        low, dash, high = member.partition("-")
        names += [f"{prefix}{i}" for i in range(int(low), int(high) + 1)] if dash else [prefix + member]
    return names
