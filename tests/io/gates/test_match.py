"""Which sample of a workspace is meant, and whether its gates hold what FlowJo counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.io.gates.workspace_maker import (
    ACQUIRED,
    dimension,
    matrix,
    population,
    rectangle,
    sample,
    workspace,
)

from cellprec.errors import InputError
from cellprec.io.gates import apply_gates
from cellprec.notes import get_notes


class TestCounts:
    GATE = rectangle(dimension("FITC-A", 5000))

    def test_equal_and_near_counts_are_told(self, events, gated, values):
        n = int((values["FITC-A"] >= 5000).sum())
        gated(population("p", self.GATE, count=n), population("q", self.GATE), count=4000)
        assert list(events.uns["gates"]["stored"]) == [n, -1]
        assert [note.text for note in get_notes(events)] == [
            "Each of 1 gates holds exactly as many events as FlowJo stored."
        ]
        gated(population("p", self.GATE, count=n), population("q", self.GATE, count=n + 3), count=4000)
        assert (
            f"1 of 2 gates hold exactly as many events as FlowJo stored; worst: q, {n} here"
            in get_notes(events)[-1].text
        )

    def test_a_gate_that_is_empty_here_and_was_not_in_flowjo_is_refused(self, events, gated):
        empty = population("top", self.GATE, population("p", rectangle(dimension("PE-A", 1e6)), count=300), count=-1)
        with pytest.raises(InputError, match="far from as many") as caught:
            gated(empty, count=4000)
        assert "top > p: 0 here, 300 in FlowJo" in caught.value.why
        assert "gates" not in events.obsm
        gated(empty, count=4000, check=False)
        assert get_notes(events)[-1].code == "gates.counts"

    def test_a_wrong_matrix_is_found_out(self, gated, values):
        gate = rectangle(dimension("Comp-FITC-A", None, 0))
        n = int((values["Comp-FITC-A"] < 0).sum())
        gated(population("neg", gate, count=n), count=4000, matrices=matrix())
        with pytest.raises(InputError, match="far from as many"):
            gated(population("neg", gate, count=n), count=4000, matrices=matrix(np.array([[1, 0.4], [0.9, 1]])))

    def test_a_stored_zero_is_no_count(self, events, gated):
        gated(population("p", self.GATE, count=0), count=4000)
        assert [(note.code, note.count) for note in get_notes(events)] == [("gates.counts", 1)]

    def test_other_events_are_said_and_not_compared(self, events, gated):
        gated(population("p", rectangle(dimension("PE-A", 1e6)), count=300), count=9000)
        assert [(note.code, note.count) for note in get_notes(events)] == [("gates.other_events", -5000)]


class TestSample:
    def pick(self, events, tmp_path, *others: dict[str, str], **named: str) -> float:
        """Gate with one candidate per dictionary of keywords; return the lower edge of the one that was taken."""
        made = [
            sample(population("p", rectangle(dimension("FSC-A", 1000 * (i + 1)))), name=f"S{i}", words=words)
            for i, words in enumerate(others)
        ]
        path: Path = tmp_path / "w.wsp"
        path.write_text(workspace(*made))
        apply_gates(events, gates=path, **named)
        inside = events.obsm["gates"][:, 0]
        return 1000 * round(float(np.asarray(events.X)[inside, 0].min()) / 1000)

    @pytest.mark.parametrize(
        ("words", "said"), [({"GUID": "G-1"}, "GUID"), ({"TUBE NAME": "T7"}, "tube name"), (ACQUIRED, "event count")]
    )
    def test_found_by_keyword_and_noted(self, events, tmp_path, words, said):
        assert self.pick(events, tmp_path, {"GUID": "g-2", "TUBE NAME": "T8"}, words) == 2000
        (note,) = get_notes(events)
        assert note.code == "gates.sample_by_keyword"
        assert said in note.text

    def test_one_file_name_in_several_folders_is_told_apart_by_what_was_acquired(self, events, tmp_path):
        same = {"$FIL": "raw.fcs"}
        assert self.pick(events, tmp_path, same | {"GUID": "g-2"}, same | {"GUID": "g-1"}) == 2000
        assert self.pick(events, tmp_path, same | {"$TOT": "9"}, same | ACQUIRED) == 2000
        with pytest.raises(InputError, match="several samples"):
            self.pick(events, tmp_path, same, same)

    def test_ambiguous_or_missing_is_refused_with_what_is_there(self, events, tmp_path):
        with pytest.raises(InputError) as caught:
            self.pick(events, tmp_path, {"TUBE NAME": "T7"}, {"TUBE NAME": "T7"}, {"$TOT": "4000"})
        assert caught.value.why == "its 3 samples are: S0, S1, S2"

    def test_a_name_that_was_given_is_the_only_one_tried(self, events, tmp_path):
        with pytest.raises(InputError, match="no sample called 'S9'"):
            self.pick(events, tmp_path, {"GUID": "g-1"}, {}, sample_name="S9")
        assert self.pick(events, tmp_path, {"GUID": "g-1"}, {}, sample_name="s1.fcs") == 2000

    def test_by_the_file_the_gates_were_drawn_on(self, events, tmp_path):
        path = tmp_path / "w.wsp"
        gate = population("p", rectangle(dimension("FSC-A", 1000)))
        path.write_text(workspace(sample(name="x"), sample(gate, name="y", uri="file:/D:/my%20data/tube.fcs")))
        apply_gates(events, gates=path)
        assert events.obsm["gates"].shape == (4000, 1)
        assert get_notes(events) == []


class TestOnlySample:
    GATE = population("p", rectangle(dimension("FSC-A", 1000)))

    def apply(self, events, tmp_path, **parts) -> list[str]:
        path: Path = tmp_path / "w.wsp"
        path.write_text(workspace(sample(self.GATE, name="B.fcs", **parts)))
        apply_gates(events, gates=path)
        return [note.code for note in get_notes(events)]

    @pytest.mark.parametrize(
        "parts", [{"count": 9000}, {"words": {"$TOT": "9000"}}, {"count": 9000, "words": {"$TOT": " 9001 "}}]
    )
    def test_with_another_number_of_events_is_refused(self, events, tmp_path, parts):
        with pytest.raises(InputError, match=r"'B\.fcs', is not 'tube\.fcs'") as caught:
            self.apply(events, tmp_path, **parts)
        assert "'B.fcs' has 9,000 events, 'tube.fcs' has 4,000" in caught.value.why
        assert str(caught.value.where).endswith("w.wsp")
        assert "name of the sample" in caught.value.fix
        assert "gates" not in events.obsm
        assert get_notes(events) == []

    @pytest.mark.parametrize(
        "parts",
        [
            {},
            {"count": 4000},
            {"words": {"$TOT": "4000"}},
            {"count": 0, "words": {"$TOT": "4000"}},
            {"count": 3990, "words": {"$TOT": "4000"}},
        ],
    )
    def test_with_as_many_or_without_a_count_is_taken_and_noted(self, events, tmp_path, parts):
        assert self.apply(events, tmp_path, **parts) == ["gates.only_sample"]

    def test_a_part_of_the_events_has_the_count_of_the_file(self, events, tmp_path):
        assert self.apply(events[:100].copy(), tmp_path, count=4000) == ["gates.only_sample"]

    def test_a_name_that_was_given_is_believed(self, events, tmp_path):
        path: Path = tmp_path / "w.wsp"
        path.write_text(workspace(sample(self.GATE, name="B.fcs", count=9000)))
        apply_gates(events, gates=path, sample_name="B.fcs")
        np.testing.assert_array_equal(events.obsm["gates"][:, 0], np.asarray(events.X)[:, 0] >= 1000)
