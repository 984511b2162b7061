"""What every dye shows in every detector, from the single-stained controls of the study."""

from __future__ import annotations

from typing import Annotated, Literal

import cellprec as cp
from cellprec.steps.contract import Artifacts, Design, Result, step


@step(tables=("pairs", "errors"), mem_gb=2)
def compensation(
    design: Design,
    controls: Artifacts,
    *,
    spectral: Annotated[bool, "unmix a spectral cytometer instead of compensating dye by dye"] = False,
    unmixing: Annotated[Literal["ols", "weighted", "nnls"], "how spectral events are unmixed"] = "weighted",
) -> Result:
    """Estimate spillover, or the spectra of the dyes, from the single-stained controls."""
    sheet = design.samples[design.samples["modality"] == "control"].set_index("sample_id")
    stained, unstained = cp.cytometry.name_controls(controls, sheet=sheet)
    if spectral:
        return Result(*cp.cytometry.spectra_of(stained, unstained=unstained, unmixing=unmixing, seed=design.seed))
    return Result(*cp.cytometry.spillover_of(stained, unstained=unstained))
