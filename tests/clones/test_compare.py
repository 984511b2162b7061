"""Every comparison of a study, and what is said of those that are not made."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from cellprec.clones.compare import assemble, compare, control_arm
from cellprec.clones.contrasts import contrasts, replicate_table
from cellprec.clones.dynamics import dynamics
from cellprec.errors import InputError
from cellprec.notes import get_notes


def study(rows: list[tuple[str, ...]], *columns: str, unit: str = "reads", n_clones: int = 300) -> AnnData:
    rng = np.random.default_rng(0)
    share = rng.lognormal(0, 1, n_clones)
    counts = rng.poisson(share * 200 * rng.gamma(20, 1 / 20, (len(rows), n_clones)))
    obs = pd.DataFrame(rows, columns=list(columns), index=[f"s{i}" for i in range(len(rows))]).astype("category")
    var = pd.DataFrame(index=[f"c{i}" for i in range(n_clones)])
    return AnnData(counts.astype(np.float32), obs=obs, var=var, uns={"cellprec": {"unit": unit}})


def not_compared(adata: AnnData) -> list[str]:
    return [note.text for note in get_notes(adata) if note.code == "clones.not_compared"]


def arms(*places: str) -> AnnData:
    """Make a study of ``arm timepoint replicates`` triples; a dot stands for an empty cell."""
    rows = []
    for place in places:
        arm, time, replicates = place.replace(".", "").split(" ")
        rows += [(arm, time, r) for r in replicates]
    return study(rows, "arm", "timepoint", "replicate")


def test_earlier_timepoints_are_noted_or_compared_if_asked_for():
    given = ("A d1 12", "A d7 12", "veh d1 12", "veh d7 12")
    adata = arms(*given)
    found, _ = compare(adata, control="veh")
    assert found["contrast"].tolist() == ["A vs veh at d7", "veh halves at d7"]
    assert [text.endswith(": A at d1") and "last timepoint" in text for text in not_compared(adata)] == [True]
    adata = arms(*given)
    found, _ = compare(adata, control="veh", every_timepoint=True)
    assert found["contrast"].tolist()[:2] == ["A vs veh at d1", "A vs veh at d7"]
    assert not not_compared(adata)


def test_the_note_names_each_timepoint_once_under_its_arm():
    adata = arms("A d1 1", "A d3 1", "A d7 12", "B d3 1", "B d7 1", "veh d1 1", "veh d3 1", "veh d7 12")
    compare(adata, control="veh")
    assert not_compared(adata)[0].endswith(": A at d1 and d3; B at d3")


def test_an_arm_that_meets_no_control_is_a_row_that_cannot_tell():
    adata = arms("A d7 12", "B d3 12", "veh d7 12")
    found, tests = compare(adata, control="veh")
    row = found.set_index("contrast").loc["B vs veh"]
    assert row["verdict"].startswith("cannot tell: the control has no library")
    assert "d3" in row["verdict"]
    assert (row["n_tested"], row["n_treated"], row["n_control"]) == (0, 2, 0)
    assert "B vs veh" not in set(tests["contrast"])


def test_an_arm_of_low_depth_alone_is_told_and_a_control_of_low_depth_does_not_stop_the_study():
    adata = arms("A d7 12", "B d7 12", "veh d7 12")
    adata.obs["low_depth"] = (adata.obs["arm"] == "B").to_numpy()
    found, _ = compare(adata, control="veh")
    assert "low depth" in found.set_index("contrast").loc["B vs veh", "verdict"]
    adata.obs["low_depth"] = (adata.obs["arm"] == "veh").to_numpy()
    found, _ = compare(adata, control="veh")
    assert found["contrast"].tolist() == ["A vs veh", "B vs veh"]
    assert found["verdict"].str.startswith("cannot tell").all()


@pytest.mark.parametrize(
    ("control", "said"), [([("veh", "1")], "one replicate"), ([("veh", ""), ("veh", "")], "not numbered")]
)
def test_a_control_without_halves_is_noted(control, said):
    adata = study([("A", "1"), ("A", "2"), *control], "arm", "replicate")
    found, _ = compare(adata, control="veh")
    assert found["kind"].tolist() == ["drug"]
    assert any("no negative control" in text and said in text for text in not_compared(adata))


def test_a_library_without_arm_is_noted_and_never_taken_for_the_whole_study():
    adata = arms(". d7 12", "A d7 12", "veh d7 12", "A . 3")
    found, _ = compare(adata, control="veh")
    drug = found.set_index("contrast").loc["A vs veh at d7"]
    assert (drug["n_treated"], drug["n_control"]) == (2, 2)
    assert not any(name.startswith("vs") for name in found["contrast"])
    assert any("no arm at d7" in text for text in not_compared(adata))


def test_tissues_of_patients_without_control_or_time_are_told_what_to_set():
    rows = [(patient, arm) for patient in ("P1", "P2") for arm in ("blood", "lung")]
    adata = study(rows, "patient_id", "arm", unit="cells")
    found, tests = compare(adata)
    assert (len(found), len(tests)) == (0, 0)
    texts = [text for text in not_compared(adata) if "blood and lung" in text]
    assert len(texts) == 1
    assert "set `control`" in texts[0]
    assert "timepoint" in texts[0]


def test_draws_that_cannot_be_paired_are_named():
    rows = [("P1", "d0"), ("P1", "d7"), ("P2", "d0"), ("", "d0"), ("", "d7")]
    adata = study(rows, "patient_id", "timepoint", unit="cells")
    found, _ = compare(adata)
    assert found["contrast"].tolist() == ["P1 d7 vs d0"]
    assert [text.rsplit(": ", 1)[1] for text in not_compared(adata)] == ["s3 and s4", "P2"]


def test_samples_without_any_design_are_not_replicates_of_one_another():
    blank = study([("", "", "", "")] * 4, "patient_id", "arm", "timepoint", "replicate")
    assert replicate_table(blank).empty
    assert contrasts(blank.obs, control_arm=None) == []
    found, _ = compare(blank)
    assert found.empty
    assert any(note.code == "clones.no_design" and note.count == 4 for note in get_notes(blank))


def test_blank_samples_do_not_stand_in_for_missing_replicates():
    rows = [("A", "1"), ("veh", "1"), ("", ""), ("", "")]
    adata = study(rows, "arm", "replicate")
    found = dynamics(adata, treated={"arm": "A"}, control={"arm": "veh"})
    assert set(found["call"]) == {"cannot tell"}


def test_several_usual_controls_are_not_chosen_between():
    adata = study([("DMSO", "1"), ("vehicle", "1")], "arm", "replicate")
    assert control_arm(adata) == ""
    assert [note.code for note in get_notes(adata)] == ["clones.control"]


def sheet(**rows: str) -> pd.DataFrame:
    return pd.DataFrame({"sample_id": list(rows), "modality": list(rows.values())})


def test_if_no_library_could_be_read_that_is_said_and_not_a_word_of_clonotypes():
    with pytest.raises(InputError, match="no library could be read") as caught:
        assemble(counts={}, reads=None, contigs=None, sheet=sheet(a="counts", b="fastq", c="cytometry"))
    assert caught.value.where == "a and b"
    assert "contig" not in str(caught.value)
    with pytest.raises(InputError, match="no contig file could be read"):
        assemble(contigs={}, sheet=sheet(v="vdj"))


def test_clonotypes_stand_in_for_unread_libraries_with_a_note():
    cells = AnnData(obs=pd.DataFrame({"clonotype": ["X", "X"]}, index=["v:0", "v:1"]))
    made = assemble(counts={}, contigs={"v": cells}, sheet=sheet(a="counts", v="vdj"))
    assert made.var_names.tolist() == ["X"]
    assert "clones.no_library" in [note.code for note in get_notes(made)]
    empty = AnnData(obs=pd.DataFrame({"clonotype": [""]}, index=["v:0"]))
    with pytest.raises(InputError, match="no cell of the study has a clonotype"):
        assemble(contigs={"v": empty}, sheet=sheet(v="vdj"))
