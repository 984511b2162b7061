"""All single-cell RNA samples together."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from annotated_types import Ge, Gt

import cellprec as cp
from cellprec.notes import add_note
from cellprec.steps.contract import Artifacts, Design, Result, step

FEWEST_CELLS: Final = 100


@step(tables=("samples", "populations", "clusters", "car"), gpu="if available", mem_gb=8)
def rna(
    design: Design,
    cells: Artifacts,
    contigs: Artifacts | None,
    *,
    batch_key: Annotated[str, "column of samples.csv that scVI corrects for"] = "sample_id",
    integration: Annotated[Literal["scvi", "none"], "how batches are joined"] = "scvi",
    n_top_genes: Annotated[int, "highly variable genes used", Ge(50)] = 2000,
    n_latent: Annotated[int, "dimensions of the scVI space", Ge(2)] = 10,
    max_epochs: Annotated[int | None, "scVI epochs; chosen from the number of cells if not given", Ge(1)] = None,
    resolution: Annotated[float, "Leiden resolution: higher gives more clusters", Gt(0)] = 1.0,
) -> Result:
    """Join all single-cell samples, integrate, cluster, name and score the cells."""
    sheet = design.samples[design.samples["modality"] == "rna"]
    joined = cp.rna.join(cells, sheet=sheet)
    cp.rna.normalize(joined, n_top_genes=n_top_genes, batch_key=batch_key, seed=design.seed)
    if integration == "scvi" and joined.n_obs < FEWEST_CELLS:
        add_note(joined, "rna.few_cells", "too few cells for scVI: principal components were used", count=joined.n_obs)
        integration = "none"
    if integration == "scvi":
        cp.integrate.scvi(joined, batch_key=batch_key, n_latent=n_latent, max_epochs=max_epochs, seed=design.seed)
    space = "X_scVI" if integration == "scvi" else "X_pca"
    cp.rna.cluster(joined, use_rep=space, resolution=resolution, seed=design.seed)
    cp.rna.annotate(joined)
    cp.rna.score_signatures(joined)
    if contigs is not None:
        cp.rna.attach_clones(joined, clones=cp.clones.cell_clones(contigs, sheet=design.samples))
    tables = {
        "samples": cp.rna.sample_tables(cells),
        "populations": cp.rna.population_table(joined),
        "clusters": cp.rna.cluster_table(joined),
        "car": cp.rna.car_table(joined),
    }
    return Result(joined, tables)
