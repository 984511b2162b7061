from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

from cellprec.steps.contract import Design
from cellprec.steps.patients import patients

NAMES = ["P1", "P2", "P3"]


def design() -> Design:
    rows = [("labs0", "table", "plasma.csv", "baseline"), ("labs14", "table", "plasma.csv", "day14")]
    return Design(
        name="two visits",
        samples=pd.DataFrame(rows, columns=["sample_id", "modality", "path", "timepoint"]),
        patients=pd.DataFrame({"response": ["CR", "PD", "CR"]}, index=NAMES),
        timepoints=("baseline", "day14"),
    )


def tables() -> dict[str, anndata.AnnData]:
    made = {}
    for name, values in (("labs0", [1.0, 2.0, 3.0]), ("labs14", [10.0, 20.0, 30.0])):
        made[name] = anndata.AnnData(
            np.array(values, dtype="f4")[:, None], obs=pd.DataFrame(index=NAMES), var=pd.DataFrame(index=["il6"])
        )
    return made


@pytest.mark.parametrize(
    ("until", "features"),
    [
        ([], ["table:plasma:il6@baseline"]),
        (["baseline", "day14"], ["table:plasma:il6@baseline", "table:plasma:il6@day14"]),
    ],
)
def test_only_the_first_timepoint_foretells_unless_the_study_says_otherwise(until, features):
    result = patients.run(design(), None, None, None, tables(), until=until)
    assert result.data.var_names.tolist() == features
    assert result.tables["features"]["feature"].tolist() == features
    assert result.data.X[:, -1].tolist() == ([10.0, 20.0, 30.0] if until else [1.0, 2.0, 3.0])
