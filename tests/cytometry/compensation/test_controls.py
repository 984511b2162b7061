"""Controls of an instrument that records heights, and the area of some detectors beside them."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd

from cellprec.cytometry.compensation.controls import spillover_of

DYES = ["FL1-H", "FL2-H", "FL3-H"]
SPILL = np.array([[1, 0.2, 0.01], [0.05, 1, 0.1], [0.0, 0.02, 1]])


def tube(dye: int | None) -> anndata.AnnData:
    rng = np.random.default_rng([1, 9 if dye is None else dye])
    amounts = np.zeros((3000, 3))
    if dye is not None:
        amounts[:, dye] = rng.lognormal(8, 0.4, 3000) * (rng.random(3000) < 0.6)
    light = amounts @ SPILL + rng.normal(50, 10, (3000, 3))
    area = light[:, [0]] * 1.3 + rng.normal(0, 30, (3000, 1))
    names = [*DYES, "FL1-A"]
    var = pd.DataFrame({"channel": names, "marker": "", "kind": "fluorescence"}, index=names)
    return anndata.AnnData(np.hstack([light, area]).astype("float32"), var=var)


def test_an_area_beside_the_compensated_height_is_not_its_detector() -> None:
    stained = {name: tube(i) for i, name in enumerate(DYES)}
    matrix, tables = spillover_of(stained, unstained=tube(None))
    assert matrix.obs_names.tolist() == DYES
    np.testing.assert_allclose(np.asarray(matrix.X), SPILL, atol=0.01)
    errors = tables["errors"]
    assert set(errors["dye"]) == set(errors["detector"]) == set(DYES)
    assert set(errors["verdict"]) == {"fine"}
