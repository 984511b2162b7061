"""Which comparisons a design holds, and what is said about them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from cellprec.clones.contrasts import contrast_table, contrasts, replicate_table
from cellprec.clones.dynamics import dynamics
from cellprec.errors import UsageError


def design(arms: str, times: list[str], replicates: str = "123", **extra: str) -> pd.DataFrame:
    rows = [(a, t, r) for a in arms.split() for t in times for r in replicates]
    frame = pd.DataFrame(rows, columns=["arm", "timepoint", "replicate"], index=["_".join(row) for row in rows])
    return frame.assign(**extra)


def test_arms_meet_the_control_at_the_last_time_they_share():
    obs = design("A B veh", ["d2", "d10"])
    obs = obs.drop(index=[f"B_d10_{r}" for r in "123"])
    found = {c.name: c for c in contrasts(obs, control_arm="veh")}
    assert list(found) == ["A vs veh at d10", "B vs veh at d2", "veh halves at d2", "veh halves at d10"]
    assert found["A vs veh at d10"].treated == {"arm": "A", "timepoint": "d10"}
    halves = found["veh halves at d10"]
    assert (halves.treated["replicate"], halves.control["replicate"]) == (("1",), ("2", "3"))


def test_the_given_order_of_time_wins_over_the_natural_one():
    obs = design("A veh", ["relapse", "base"])
    names = [c.name for c in contrasts(obs, control_arm="veh", timepoints=["base", "relapse"])]
    assert names[0] == "A vs veh at relapse"


def test_every_timepoint_and_a_dose_split_the_arm_but_not_the_control():
    obs = design("A veh", ["d1", "d2"])
    obs["dose"] = np.where(obs["arm"] == "veh", "", np.where(obs["replicate"] == "1", "lo", "hi"))
    found = contrasts(obs, control_arm="veh", every_timepoint=True, by=["dose"])
    names = [c.name for c in found if c.kind == "drug"]
    assert names == ["A hi vs veh at d1", "A hi vs veh at d2", "A lo vs veh at d1", "A lo vs veh at d2"]
    assert found[0].control == {"arm": "veh", "timepoint": "d1"}


def test_without_a_control_arm_times_are_compared_within_each_patient():
    obs = pd.concat([design("x", ["d0", "d7", "d28"], "1", patient_id="P1"), design("x", ["d0"], "1", patient_id="P2")])
    found = contrasts(obs, control_arm=None)
    assert [(c.name, c.kind) for c in found] == [("P1 x d7 vs d0", "time"), ("P1 x d28 vs d0", "time")]
    assert found[0].control == {"patient_id": "P1", "arm": "x", "timepoint": "d0"}


def test_low_depth_libraries_do_not_count_and_unknown_arms_are_named():
    obs = design("A veh", ["d1"], "12")
    obs["low_depth"] = obs.index == "veh_d1_2"
    assert [c.kind for c in contrasts(obs, control_arm="veh")] == ["drug"]
    with pytest.raises(UsageError, match="vehicle"):
        contrasts(obs, control_arm="vehicle")


def test_every_contrast_can_be_run_and_summarized(experiment):
    adata, _ = experiment(3, n_clones=300, resistant=6, bottleneck=100)
    results = [
        dynamics(adata, treated=c.treated, control=c.control, name=c.name, kind=c.kind)
        for c in contrasts(adata.obs, control_arm="vehicle")
    ]
    summary = contrast_table(results).set_index("kind")
    assert summary.loc["drug", "n_enriched"] >= 4
    assert summary.loc["negative control", ["n_enriched", "n_depleted"]].tolist() == [0, 0]
    assert (summary.loc["negative control", "n_treated"], summary.loc["negative control", "n_control"]) == (1, 2)
    assert "as it must be" in summary.loc["negative control", "verdict"]
    false = results[1].assign(call="enriched")
    assert "not to be trusted" in contrast_table([false])["verdict"].item()


def test_overlap_of_replicates_stands_beside_that_of_the_control():
    rng = np.random.default_rng(0)
    share = rng.lognormal(0, 2, 300)
    other = rng.permutation(share)
    counts = rng.poisson(1000 * np.array([share, share, other, other, share, other]))
    obs = pd.DataFrame({"arm": list("AAvvBB"), "timepoint": "d1", "replicate": list("121212")}, index=list("abcdef"))
    found = replicate_table(AnnData(counts.astype(np.float32), obs=obs), control_arm="v").set_index("arm")
    assert found.loc["A", "top_overlap"] > 0.9
    assert found.loc["B", "top_overlap"] < 0.4
    assert found["control_overlap"].nunique() == 1
    assert found.loc["A", "control_overlap"] == found.loc["v", "top_overlap"]
    assert found.loc["A", "r"] > 0.95 > found.loc["B", "r"]
