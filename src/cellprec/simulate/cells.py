"""Single-cell RNA counts of simulated patients: populations, CAR-T cells, batches, poor cells and doublets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellprec.simulate.cohort import POPULATIONS
from cellprec.simulate.genes import POPULATION_PROGRAMS, T_CELLS, TRANSGENE, gene_groups

if TYPE_CHECKING:
    from cellprec.simulate.contigs import Clone, Repertoire
    from cellprec.simulate.files import Floats

CAR_DETECTION: Final = 0.70
CAR_BACKGROUND: Final = 0.0003
_MEDIAN_UMIS: Final = 2800
_DISPERSION: Final = 0.15
_AMBIENT: Final = 0.03
_MITO_SHARE: Final = 0.05
_RNA_CONTENT: Final = {"Classical monocytes": 1.4, "DC": 1.4, "B": 0.9}


@dataclass(frozen=True)
class Library:
    """What all tubes of a study share: how strongly each gene speaks, and how batch 2 distorts it."""

    abundance: Floats
    batch_shift: Floats


@dataclass(frozen=True)
class Cells:
    """One tube: counts of cells × genes, barcodes, what each cell truly is, and the T-cell clones in it."""

    counts: sp.csr_matrix
    barcodes: list[str]
    truth: pd.DataFrame
    clones: list[tuple[str, list[Clone]]]


def draw_library(*, rng: np.random.Generator) -> Library:
    """Draw gene abundances (wide for common genes, narrow for the markers of a population) and the batch shift."""
    groups = gene_groups()
    is_common = groups["common"].to_numpy() > 0
    n = len(groups)
    abundance = np.exp(rng.normal(0, np.where(is_common, 1.0, 0.35)))
    return Library(abundance, np.exp(rng.normal(0, 0.2, n)))


def draw_cells(
    shares: pd.Series,
    *,
    library: Library,
    n_cells: int,
    car_share: float,
    shifted: bool,
    repertoire: Repertoire,
    rng: np.random.Generator,
) -> Cells:
    """Draw the cells of one tube.

    Counts are negative binomial around population profiles, with 3 % ambient RNA; 5 % of cells are poor (few genes,
    much mitochondrial RNA), 4 % are doublets. The transgene is seen in 70 % of CAR-T cells and, as background, in
    3 of 10,000 others.

    Parameters
    ----------
    shares
        Proportion of each population in the blood.
    car_share
        Share of memory T cells that carry the CAR.
    shifted
        Whether the tube is of batch 2.
    """
    n_doublets, n_poor = round(0.04 * n_cells), round(0.05 * n_cells)
    n_drawn = n_cells + n_doublets
    population = rng.choice(np.array(POPULATIONS), n_drawn, p=shares[list(POPULATIONS)].to_numpy())
    car = (rng.random(n_drawn) < car_share) & np.isin(population, ["CD4 memory", "CD8 memory"])
    clones = [
        repertoire.draw(p, car=bool(c), rng=rng) if p in T_CELLS else None for p, c in zip(population, car, strict=True)
    ]
    kind = np.full(n_cells, "cell", dtype="<U7")
    kind[:n_doublets], kind[-n_poor:] = "doublet", "poor"
    poor = np.zeros(n_drawn, bool)
    poor[:n_cells] = kind == "poor"

    weights = _profiles(library, population, car, clones, rng)
    if shifted:
        weights *= library.batch_shift
    counts = _count(weights, population, car, poor, rng)
    counts[:n_doublets] += counts[n_cells:]
    members = [[clone] for clone in clones[:n_cells]]
    for i in range(n_doublets):
        members[i].append(clones[n_cells + i])

    order = rng.permutation(n_cells)
    barcodes = _barcodes(n_cells, rng)
    truth = pd.DataFrame(
        {"barcode": barcodes, "population": population[order], "kind": kind[order], "car": car[order].astype(int)}
    )
    found = [
        (barcode, [clone for clone in members[i] if clone is not None])
        for barcode, i in zip(barcodes, order, strict=True)
        if kind[i] != "poor"
    ]
    return Cells(sp.csr_matrix(counts[order]), barcodes, truth, [cell for cell in found if cell[1]])


def _profiles(
    library: Library,
    population: np.ndarray,
    car: np.ndarray,
    clones: list[Clone | None],
    rng: np.random.Generator,
) -> Floats:
    """Return cells × genes: the share of each gene in the RNA of each cell, mitochondria apart."""
    groups = gene_groups()
    at = {gene: i for i, gene in enumerate(groups.index)}
    weights = np.tile((groups["common"] + groups["ribosomal"] + 0.01).to_numpy(), (len(population), 1))
    weights += np.exp(rng.normal(0, 0.5)) * groups["interferon"].to_numpy()
    for name, programs in POPULATION_PROGRAMS.items():
        weights[population == name] += groups[list(programs)].sum(axis=1).to_numpy()
    weights[car] += groups["exhausted"].to_numpy()
    weights[car & (rng.random(len(car)) < 0.25)] += groups["cycling"].to_numpy()
    weights *= library.abundance * np.exp(rng.normal(0, 0.08, len(groups)))
    for cell, clone in enumerate(clones):
        if clone is not None:
            weights[cell, [at[clone.tra.v_gene], at[clone.trb.v_gene]]] += 3.0
    heavy = np.flatnonzero(groups["IGHV"] > 0)
    b_cells = np.flatnonzero(population == "B")
    weights[b_cells, rng.choice(heavy, len(b_cells))] += 6.0
    weights[:, at[TRANSGENE]] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray((1 - _AMBIENT) * weights + _AMBIENT * weights.mean(axis=0))


def _count(
    weights: Floats, population: np.ndarray, car: np.ndarray, poor: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    n_cells, n_genes = weights.shape
    mito = gene_groups()["mitochondrial"].to_numpy() > 0
    share = np.minimum(_MITO_SHARE * np.exp(rng.normal(0, 0.3, n_cells)) * np.where(poor, 9, 1), 0.8)
    depth = _MEDIAN_UMIS * np.exp(rng.normal(0, 0.3, n_cells)) * np.where(poor, 0.08, 1)
    depth *= [_RNA_CONTENT.get(name, 1.0) for name in population]
    mean = weights * ((1 - share) * depth)[:, None]
    mean[:, mito] = (share * depth)[:, None] * weights[:, mito] / weights[:, mito].sum(axis=1, keepdims=True)
    counts = rng.poisson(mean * rng.gamma(1 / _DISPERSION, _DISPERSION, (n_cells, n_genes)))
    seen = rng.random(n_cells) < np.where(car, CAR_DETECTION, CAR_BACKGROUND)
    counts[:, list(gene_groups().index).index(TRANSGENE)] = seen * (1 + rng.poisson(np.where(car, 1.5, 0.0)))
    return np.asarray(counts)


def _barcodes(n: int, rng: np.random.Generator) -> list[str]:
    """Return distinct 16-base cell barcodes, sorted as Cell Ranger sorts them."""
    drawn = ["".join(row) for row in rng.choice(list("ACGT"), (2 * n, 16))]
    return sorted(f"{barcode}-1" for barcode in list(dict.fromkeys(drawn))[:n])
