from __future__ import annotations

import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[3] / "shared" / "data"))

PROGRAMMES = {
    "CD4 T": ("CD3D", "CD3E", "CD3G", "TRAC", "CD4", "CD40LG", "IL7R"),
    "CD8 T": ("CD3D", "CD3E", "CD3G", "TRAC", "CD8A", "CD8B"),
    "NK": ("NKG7", "GNLY", "KLRD1", "KLRF1", "NCAM1", "FCER1G", "TYROBP", "PRF1", "GZMB"),
    "B": ("MS4A1", "CD79A", "CD79B", "CD19", "BANK1", "CD37"),
    "classical mono": ("CD14", "LYZ", "S100A8", "S100A9", "VCAN", "FCN1"),
}
EXTRA = (
    "FCGR3A",
    "MS4A7",
    "MT-CO1",
    "MT-ND1",
    "RPL3",
    "RPS6",
    "TRAV1-2",
    "TRBV20-1",
    "IGHV3-23",
    "CAT_scFv",
    "MKI67",
    "TOP2A",
    "TYMS",
)


def simulate_cells(
    *,
    n: int = 400,
    n_genes: int = 600,
    seed: int = 0,
    samples: tuple[str, ...] = ("P01", "P02"),
    types: tuple[str, ...] = (),
) -> AnnData:
    """Cells of known type: markers at 8 times the background, some 2,000 molecules a cell."""
    rng = np.random.default_rng(seed)
    named = list(dict.fromkeys(gene for genes in PROGRAMMES.values() for gene in genes)) + list(EXTRA)
    names = named + [f"GENE{i}" for i in range(n_genes - len(named))]
    base = rng.gamma(1.0, 1.0, n_genes)
    base[: len(named)] = 0.05
    base[[names.index(gene) for gene in ("MT-CO1", "MT-ND1", "RPL3", "RPS6")]] = 8.0
    chosen = list(types or PROGRAMMES)
    kind = np.array(chosen)[rng.integers(0, len(chosen), n)]
    rate = np.tile(base, (n, 1))
    for name, genes in PROGRAMMES.items():
        columns = [names.index(gene) for gene in genes]
        rate[np.ix_(kind == name, columns)] = 12.0
    rate *= (2000 * rng.lognormal(0, 0.3, n) / rate.sum(axis=1))[:, None]
    counts = sparse.csr_matrix(rng.poisson(rate).astype(np.float32))
    sample = np.array(samples)[np.arange(n) % len(samples)]
    obs = pd.DataFrame({"sample_id": pd.Categorical(sample), "type": pd.Categorical(kind)})
    obs.index = [f"{name}:{i}" for i, name in enumerate(sample)]
    adata = AnnData(counts, obs=obs, var=pd.DataFrame({"gene_id": names}, index=names))
    adata.layers["counts"] = counts.copy()
    return adata


@pytest.fixture
def cells() -> AnnData:
    return simulate_cells()


@pytest.fixture
def simulate():
    return simulate_cells


@pytest.fixture(scope="session")
def carpall() -> AnnData:
    """The published CD19 CAR-T cells as one object, with the authors' labels; skipped where the data are absent."""
    folder = DATA / "rna" / "carpall_2023"
    if not folder.is_dir():
        pytest.skip("the real data are not beside the checkout")
    parts = []
    for path in sorted((folder / "GEX").glob("*.h5")):
        part = sc.read_10x_h5(path)
        part.var_names_make_unique()
        part.obs["sample_id"] = path.stem
        part.obs_names = [f"{path.stem}_{name}" for name in part.obs_names]
        parts.append(part)
    adata = anndata.concat(parts, merge="first")
    adata.layers["counts"] = adata.X.copy()
    truth = pd.read_csv(folder / "CARTcell_barcodes.tsv.gz", sep="\t", index_col="CellID")
    sheet = pd.read_csv(folder / "sample_metadata.tsv", sep="\t", index_col="GEX_Sample")
    adata.obs["car_t"] = adata.obs_names.isin(truth.index)
    adata.obs["type"] = truth["CellType1"].reindex(adata.obs_names).astype(str).to_numpy()
    adata.obs["unsorted"] = (sheet.loc[adata.obs["sample_id"], "Sort"] == "NoSo").to_numpy()
    adata.obs["product"] = (sheet.loc[adata.obs["sample_id"], "Source"] == "PROD").to_numpy()
    return adata
