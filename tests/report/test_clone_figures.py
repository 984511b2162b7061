from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from cellprec.report.sections.clone_figures import _pieces, ranked
from cellprec.report.sections.clones import control_alerts


def clones(**columns: list[Any]) -> ad.AnnData:
    obs = pd.DataFrame(columns).astype("category")
    obs.index = [f"s{i}" for i in range(len(obs))]
    counts = np.arange(1, len(obs) * 3 + 1, dtype="float32").reshape(len(obs), 3)
    return ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=["a", "b", "c"]))


def test_patients_are_followed_one_by_one_the_deepest_first() -> None:
    adata = clones(patient_id=["P1", "P1", "P2", "P2", "P3"], timepoint=["d0", "d7", "d0", "d7", "d0"])
    adata.X[:2, 2] = 0
    pieces = _pieces(adata, order=("d0", "d7"))
    assert [(name, own.n_obs, own.n_vars, group, kind) for name, own, group, kind in pieces] == [
        ("P2", 2, 3, "timepoint", "area"),
        ("P1", 2, 2, "timepoint", "area"),
    ]


def test_patients_seen_once_are_not_averaged_with_others() -> None:
    assert _pieces(clones(patient_id=["P1", "P2"], timepoint=["d0", "d0"]), order=()) == []


def test_an_arm_is_followed_where_it_has_several_timepoints() -> None:
    adata = clones(patient_id=["", ""], arm=["drug", "drug"], timepoint=["d0", "d7"])
    assert [(name, group) for name, _, group, _ in _pieces(adata, order=())] == [("drug", "timepoint")]


def test_arms_at_one_timepoint_stand_side_by_side_in_the_order_of_time() -> None:
    adata = clones(arm=["drug", "vehicle", None], timepoint=["end", "end", "start"])
    ((name, own, group, kind),) = _pieces(adata, order=("start", "end"))
    assert (name, group, kind) == ("All groups", "group", "lines")
    assert own.obs["group"].cat.categories.tolist() == ["start", "drug end", "vehicle end"]
    assert "group" not in adata.obs, "the data of the run are left as they are"


def table(**columns: Any) -> pd.DataFrame:
    base = {"kind": "drug", "n_tested": 100, "n_enriched": 0, "n_depleted": 0, "verdict": "no clone rose or fell"}
    return pd.DataFrame({"contrast": ["a", "b"], **base, **columns})


def test_drugs_come_before_controls_and_calls_before_none() -> None:
    assert ranked(table(kind=["negative control", "drug"]))["contrast"].tolist() == ["b", "a"]
    assert ranked(table(n_depleted=[0, 2]))["contrast"].tolist() == ["b", "a"]


def test_a_drug_without_a_negative_control_is_told() -> None:
    assert [alert.title for alert in control_alerts(table())] == ["There is no negative control"]
    assert control_alerts(table(kind=["drug", "negative control"])) == []


def test_many_contrasts_that_cannot_tell_are_one_alert() -> None:
    alerts = control_alerts(table(kind="time", verdict="cannot tell: one sample"))
    assert [(alert.title, alert.text) for alert in alerts] == [("2 contrasts: cannot tell: one sample", "a and b.")]


def test_one_group_has_nothing_to_follow() -> None:
    assert _pieces(clones(arm=["drug", "drug"], timepoint=["end", "end"]), order=()) == []
