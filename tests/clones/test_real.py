"""A public barcoding study under two drugs, two replicates per arm."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from cellprec.clones.contrasts import replicate_table
from cellprec.clones.dynamics import dynamics
from cellprec.clones.table import collapse, table

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[3] / "shared" / "data"))
STUDY = DATA / "barcodes" / "bartools_dose_escalation"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not STUDY.exists(), reason="real data are not here")]
IBET = ("IBET high_dose", "IBET gradual")


@pytest.fixture(scope="module")
def clones() -> AnnData:
    rows = pd.read_csv(STUDY / "dose_escalation_02_samplesheet.csv", dtype=str).fillna("")
    counts = pd.read_csv(STUDY / "dose_escalation_02_counts.tsv.gz", sep="\t", index_col=0)
    counts.columns = counts.columns.str.split("_S").str[0]
    arm = rows["Treatment"].where(rows["Treatment"] == rows["Strategy"], rows["Treatment"] + " " + rows["Strategy"])
    sheet = pd.DataFrame(
        {
            "sample_id": rows["Sample"],
            "arm": arm,
            "timepoint": rows["Timepoint"],
            "replicate": rows["Technical_Replicate"],
            "pcr_replicate": rows["PCR_Replicate"],
        }
    )
    samples = {name: AnnData(counts[[name]].T.astype(np.float32)) for name in counts}
    return collapse(table(samples, sheet=sheet))


def shared_by_ratio(clones: AnnData) -> set[str]:
    """The clones that the rule of the data set's authors finds, in both arms and both replicates."""
    cpm = pd.DataFrame(clones.layers["frequency"] * 1e6, index=clones.obs_names, columns=clones.var_names)
    found = []
    for arm in IBET:
        for replicate in ("TR1", "TR2"):
            drug, vehicle = cpm.loc[f"{arm}_TP5_{replicate}"], cpm.loc[f"DMSO_TP5_{replicate}"]
            found.append(set(cpm.columns[(drug >= 100) & ((drug + 10) / (vehicle + 10) > 8)]))
    return set.intersection(*found)


def enriched(clones: AnnData, arm: str) -> set[str]:
    where = {"timepoint": "TP5"}
    found = dynamics(clones, treated={"arm": arm, **where}, control={"arm": "DMSO", **where})
    return set(found.index[found["call"] == "enriched"])


def test_the_shared_clones_are_enriched_in_both_arms(clones):
    truth = shared_by_ratio(clones)
    assert len(truth) == 11
    assert truth <= enriched(clones, IBET[1])
    missed = truth - enriched(clones, IBET[0])
    assert len(missed) <= 1
    # the smallest of them: unseen in vehicle, and so rare under the high dose that its replicates cannot vouch for it
    where = {"timepoint": "TP5"}
    high_dose = dynamics(clones, treated={"arm": IBET[0], **where}, control={"arm": "DMSO", **where})
    assert set(high_dose.loc[sorted(missed), "call"]) <= {"cannot tell"}


def test_the_two_drugs_enrich_different_clones(clones):
    assert len((enriched(clones, IBET[0]) | enriched(clones, IBET[1])) & enriched(clones, "ARAC gradual")) <= 1


@pytest.mark.parametrize("timepoint", ["TP1", "TP2", "TP3", "TP4", "TP5"])
def test_vehicle_against_vehicle_calls_nothing(clones, timepoint):
    where = {"arm": "DMSO", "timepoint": timepoint}
    found = dynamics(clones, treated={**where, "replicate": "TR1"}, control={**where, "replicate": "TR2"})
    assert found["p"].notna().sum() > 100
    assert not found["call"].isin(["enriched", "depleted"]).any()


def test_overlap_of_replicates_is_no_higher_under_drug_than_under_vehicle(clones):
    pairs = replicate_table(clones, control_arm="DMSO")
    last = pairs[pairs["timepoint"] == "TP5"].set_index("arm")
    assert last.loc["DMSO", "top_overlap"] == pytest.approx(18 / 20)
    assert last.loc["IBET gradual", "control_overlap"] == pytest.approx(18 / 20)
