"""All cytometry samples together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt

import cellprec as cp
from cellprec.steps.contract import Artifacts, Design, Result, step


@step(tables=("samples", "acquisition", "populations", "clusters", "gates"), mem_gb=6)
def cytometry(
    design: Design,
    events: Artifacts,
    *,
    populations: Annotated[Path | None, "CSV table of populations × markers with + and -"] = None,
    scale: Annotated[Literal["logicle", "biexponential", "arcsinh"] | None, "fluorescence (default: logicle)"] = None,
    cofactor: Annotated[float | None, "fixed arcsinh cofactor (usual: 5 for mass, 150 for fluorescence)", Gt(0)] = None,
    n_clusters: Annotated[int, "number of clusters", Ge(2)] = 30,
    max_events: Annotated[int, "events taken per sample for the joint analysis", Ge(100)] = 100_000,
) -> Result:
    """Join all cytometry samples, transform, cluster and name the populations."""
    sheet = design.samples[design.samples["modality"] == "cytometry"]
    cells = cp.cytometry.join(events, sheet=sheet, max_events=max_events, seed=design.seed)
    cp.cytometry.transform(cells, parameters=cp.cytometry.estimate_transform(cells, method=scale, cofactor=cofactor))
    cp.cytometry.cluster(cells, n_clusters=n_clusters, seed=design.seed)
    if not cp.cytometry.name_by_gates(cells, samples=events):
        signs = cp.cytometry.read_signs(populations) if populations else cp.cytometry.default_signs()
        cp.cytometry.annotate(cells, signs=signs)
    cp.cytometry.embed(cells, seed=design.seed)
    tables = {
        **cp.cytometry.sample_tables(events),
        "populations": cp.cytometry.population_table(cells),
        "clusters": cp.cytometry.cluster_table(cells),
    }
    return Result(cells, tables)
