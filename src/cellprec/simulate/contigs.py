"""T-cell receptors of simulated patients, and the contig tables of their tubes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import numpy as np
import pandas as pd

from cellprec.simulate.genes import T_CELLS, gene_groups

N_EXPANDED: Final = 3
_CODONS: Final = {
    "A": ("GCT", "GCC"), "D": ("GAT", "GAC"), "E": ("GAA", "GAG"), "F": ("TTT", "TTC"), "G": ("GGT", "GGC", "GGG"),
    "L": ("CTG", "CTT"), "N": ("AAT", "AAC"), "P": ("CCT", "CCC"), "Q": ("CAA", "CAG"), "R": ("CGG", "AGA"),
    "S": ("AGC", "TCT", "AGT"), "T": ("ACT", "ACC"), "V": ("GTG", "GTC"), "Y": ("TAT", "TAC"), "C": ("TGT",),
    "I": ("ATT", "ATC"), "K": ("AAA",), "M": ("ATG",), "H": ("CAT",), "W": ("TGG",),
}  # fmt: skip
_MIDDLE: Final = "ADEGLNPQRSTVY"
# J segments with the end of the CDR3 they give
_TRAJ: Final = (
    ("TRAJ9", "GGFKTIF"), ("TRAJ12", "SSYKLIF"), ("TRAJ20", "DYKLSF"), ("TRAJ23", "GKLIF"), ("TRAJ33", "NYQLIW"),
    ("TRAJ42", "GSQGNLIF"), ("TRAJ45", "GGADGLTF"), ("TRAJ48", "GNEKLTF"), ("TRAJ49", "NQFYF"), ("TRAJ57", "GSEKLVF"),
)  # fmt: skip
_TRBJ: Final = (
    ("TRBJ1-1", "NTEAFF"), ("TRBJ1-2", "NYGYTF"), ("TRBJ1-5", "NQPQHF"), ("TRBJ2-1", "YNEQFF"), ("TRBJ2-2", "NTGELFF"),
    ("TRBJ2-3", "DTQYF"), ("TRBJ2-5", "ETQYF"), ("TRBJ2-7", "YEQYF"),
)  # fmt: skip
COLUMNS: Final = (
    "barcode", "is_cell", "contig_id", "high_confidence", "length", "chain", "v_gene", "d_gene", "j_gene", "c_gene",
    "full_length", "productive", "cdr3", "cdr3_nt", "reads", "umis", "raw_clonotype_id", "raw_consensus_id",
)  # fmt: skip


@dataclass(frozen=True)
class Chain:
    """One rearranged receptor chain."""

    chain: str
    v_gene: str
    j_gene: str
    c_gene: str
    cdr3: str
    cdr3_nt: str


@dataclass(frozen=True)
class Clone:
    """A T-cell clone: its alpha and beta chain."""

    tra: Chain
    trb: Chain


@dataclass(frozen=True)
class Repertoire:
    """The T-cell clones of one patient by population, and the CAR-T clones that expand after infusion."""

    clones: dict[str, list[Clone]]
    expanded: list[Clone] = field(default_factory=list)

    def draw(self, population: str, *, car: bool, rng: np.random.Generator) -> Clone:
        """Return the clone of one cell: half of all CD8 CAR-T cells belong to the expanded ones."""
        if car and population == "CD8 memory" and rng.random() < 0.5:
            return self.expanded[rng.integers(len(self.expanded))]
        clones = self.clones[population]
        if population.endswith("memory"):  # a few large clones, many small ones
            return clones[int(len(clones) * rng.random() ** 2)]
        return clones[rng.integers(len(clones))]


def draw_repertoire(*, rng: np.random.Generator, n_naive: int = 250, n_memory: int = 60) -> Repertoire:
    """Draw the T-cell clones of a patient, the same at all timepoints."""
    clones = {
        name: [_draw_clone(rng) for _ in range(n_memory if name.endswith("memory") else n_naive)] for name in T_CELLS
    }
    return Repertoire(clones, [_draw_clone(rng) for _ in range(N_EXPANDED)])


def _draw_clone(rng: np.random.Generator) -> Clone:
    return Clone(_draw_chain("TRA", rng), _draw_chain("TRB", rng))


@cache
def _v_genes(chain: str) -> tuple[str, ...]:
    groups = gene_groups()
    return tuple(groups.index[groups[f"{chain}V"] > 0])


def _draw_chain(chain: str, rng: np.random.Generator) -> Chain:
    v_genes, j_genes = _v_genes(chain), _TRAJ if chain == "TRA" else _TRBJ
    v_gene, (j_gene, end) = v_genes[rng.integers(len(v_genes))], j_genes[rng.integers(len(j_genes))]
    middle = "".join(_MIDDLE[i] for i in rng.integers(len(_MIDDLE), size=rng.integers(3, 7)))
    cdr3 = ("CA" if chain == "TRA" else "CASS") + middle + end
    picks = rng.random(len(cdr3))
    cdr3_nt = "".join(_CODONS[aa][int(u * len(_CODONS[aa]))] for aa, u in zip(cdr3, picks, strict=True))
    c_gene = "TRAC" if chain == "TRA" else "TRBC1" if j_gene.startswith("TRBJ1") else "TRBC2"
    return Chain(chain, v_gene, j_gene, c_gene, cdr3, cdr3_nt)


def contig_table(cells: Sequence[tuple[str, Sequence[Clone]]], *, rng: np.random.Generator) -> pd.DataFrame:
    """Return the filtered contig annotations of a tube, as Cell Ranger lays them out.

    Parameters
    ----------
    cells
        Barcode of each T cell and its clones: one, or two in a doublet. The beta chain of a cell is caught in 92 %,
        the alpha chain in 82 %; 5 % of cells carry a second, unproductive alpha chain.
    """
    clonotype: dict[Clone, str] = {}
    rows = []
    for barcode, clones in cells:
        chains = []
        for clone in clones:
            name = clonotype.setdefault(clone, f"clonotype{len(clonotype) + 1}")
            caught = rng.random(3)
            if caught[0] < 0.92:
                chains.append((clone.trb, True, 2 + int(rng.poisson(8)), name))
            if caught[1] < 0.82:
                chains.append((clone.tra, True, 1 + int(rng.poisson(4)), name))
            if caught[2] < 0.05:
                chains.append((_draw_chain("TRA", rng), False, 1 + int(rng.poisson(1)), name))
        for i, (chain, productive, umis, name) in enumerate(chains, start=1):
            rows.append((barcode, f"{barcode}_contig_{i}", chain, productive, umis, name, int(rng.integers(480, 640))))
    return pd.DataFrame([_row(*row) for row in rows], columns=list(COLUMNS))


def _row(
    barcode: str, contig: str, chain: Chain, productive: bool, umis: int, clonotype: str, length: int
) -> list[object]:
    # an unproductive rearrangement has lost a base of its junction: out of frame, no protein
    cdr3, cdr3_nt = (chain.cdr3, chain.cdr3_nt) if productive else ("", chain.cdr3_nt[:-1])
    full = [barcode, "true", contig, "true", length, chain.chain, chain.v_gene, "", chain.j_gene, chain.c_gene, "true"]
    consensus = f"{clonotype}_consensus_{1 + (chain.chain == 'TRB')}" if productive else ""
    return [*full, str(productive).lower(), cdr3, cdr3_nt, umis * 1450 + length, umis, clonotype, consensus]
