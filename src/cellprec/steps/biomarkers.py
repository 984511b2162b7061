"""What is associated with an outcome, and what foretells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

import cellprec as cp
from cellprec.steps.contract import Design, Result, step

if TYPE_CHECKING:
    from anndata import AnnData


@step(
    tables=("associations", "confounding", "prediction", "predictions", "selected", "headlines"),
    patients=True,
    mem_gb=3,
)
def biomarkers(
    design: Design,
    patients: AnnData,
    *,
    permutations: Annotated[int, "permutations of the whole prediction", Ge(20)] = 200,
    repeats: Annotated[int, "repeats of the cross-validation", Ge(1)] = 5,
) -> Result:
    """Ask which features go with each outcome, and whether any foretells it."""
    tables = cp.biomarkers.ask(
        patients,
        outcomes={outcome.name: outcome.yes for outcome in design.outcomes},
        covariates=design.covariates,
        seed=design.seed,
        repeats=repeats,
        permutations=permutations,
    )
    return Result(tables=tables)
