"""What is written is what our reader, and another one, read back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import flowio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellprec.errors import InputError
from cellprec.io.export import fcs_bytes, write_fcs
from cellprec.io.fcs import read_fcs, read_fcs_header
from cellprec.notes import get_notes

EASY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
VALUES = np.array([[1.5, -2.0, 7.0], [3.25, 4.0, 8.0]], dtype=np.float32)
CHANNELS = ["FSC-A", "PE-A", "Time"]
TABLES = hnp.arrays(np.float32, st.tuples(st.integers(0, 6), st.integers(1, 4)))
WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=0x24F, categories=("L", "N", "P", "S")), min_size=1)


@EASY
@given(values=TABLES, data=st.data())
def test_round_trip(tmp_path, values, data):
    n_channels = values.shape[1]
    names = st.lists(WORDS, min_size=n_channels, max_size=n_channels, unique=True)
    channels, markers = data.draw(names), data.draw(names)
    keywords = data.draw(
        st.dictionaries(st.from_regex(r"[A-Z]{2}[A-Z_ /|\\]{0,5}[A-Z]{2}", fullmatch=True), WORDS, max_size=3)
    )
    path = write_fcs(tmp_path / "a.fcs", values, channels=channels, markers=markers, keywords=keywords)
    adata = read_fcs(path)
    assert adata.X.dtype == np.float32
    np.testing.assert_array_equal(adata.X, values)
    assert list(adata.var["channel"]) == channels
    assert list(adata.var["marker"]) == markers
    stored = json.loads(adata.uns["fcs"]["keywords"])
    assert {key: stored[key] for key in keywords} == keywords
    assert {note.code for note in get_notes(adata)} <= {"fcs.not_finite"}
    if any("$" in word for word in (*channels, *markers, *keywords.values())):
        return  # the other reader drops every dollar sign before it parses
    other = flowio.FlowData(str(path))
    np.testing.assert_array_equal(other.as_array(preprocess=False), values)
    assert other.pnn_labels == channels
    assert other.pns_labels == markers


def test_a_marker_may_be_called_like_a_keyword(tmp_path):
    names = {"channels": ["$PAR", "A", "B"], "markers": ["$BEGINDATA", "$P2N", "$TOT"]}
    path = write_fcs(tmp_path / "a.fcs", VALUES, **names, keywords={"K": "$MODE"})
    adata = read_fcs(path)
    assert [list(adata.var["channel"]), list(adata.var["marker"])] == list(names.values())
    assert read_fcs_header(path).keywords["K"] == "$MODE"
    assert not get_notes(adata)


def test_another_reader_sees_scaled_values_as_they_are(tmp_path):
    path = write_fcs(tmp_path / "a.fcs", VALUES, channels=CHANNELS, ranges=[262144, 1024, 1])
    other = flowio.FlowData(str(path))
    assert other.version == "3.1"
    np.testing.assert_array_equal(other.as_array(preprocess=True), VALUES)
    assert other.pnr_values == [262144, 1024, 1]


def test_keywords_of_the_file_the_events_came_from(tmp_path):
    old = {"$TOT": "99", "$BEGINDATA": "1", "$P1B": "16", "$P1G": "4", "$TIMESTEP": "0.01", "SPILL": "1,PE-A,1"}
    kept = {"$CYT": "Aria", "$DATE": "01-JAN-2024", "EXPERIMENT NAME": "a/b|c\f", "$OP": "µ"}
    path = write_fcs(tmp_path / "a.fcs", VALUES, channels=CHANNELS, keywords=old | kept | {"EMPTY": ""})
    np.testing.assert_array_equal(read_fcs(path).X, VALUES)
    stored = read_fcs_header(path).keywords
    assert {key: stored[key] for key in kept} == kept
    assert stored["$TOT"] == "2"
    assert stored["$TIMESTEP"] == "1"
    assert not {"$P1G", "SPILL", "EMPTY"} & set(stored)


def test_spillover_comes_back(tmp_path):
    matrix = np.eye(3)
    matrix[0, 1], matrix[1, 0] = 0.1, 1 / 3
    path = write_fcs(tmp_path / "a.fcs", VALUES, channels=CHANNELS, spillover=matrix)
    np.testing.assert_array_equal(read_fcs(path).varp["spillover"], matrix)
    assert read_fcs_header(path).spillover.channels == ("FSC-A", "PE-A")
    unit = write_fcs(tmp_path / "b.fcs", VALUES, channels=CHANNELS, spillover=np.eye(3))
    np.testing.assert_array_equal(read_fcs(unit).varp["spillover"], np.eye(3))


def test_integers_and_doubles_are_written_as_32_bit_floats(tmp_path):
    path = write_fcs(tmp_path / "a.fcs", [[1, 2], [3, 4]], channels=["A", "B"])
    assert read_fcs(path).X.tolist() == [[1, 2], [3, 4]]
    path = write_fcs(tmp_path / "b.fcs", np.array([[0.1]]), channels=["A"])
    assert read_fcs(path).X[0, 0] == np.float32(0.1)


def test_in_memory_copy_keeps_64_bits(tmp_path):
    path = tmp_path / "a.fcs"
    path.write_bytes(fcs_bytes(np.array([[0.1, 2**24 + 1]]), channels=["A", "B"]))
    assert read_fcs(path).X.tolist() == [[0.1, 2**24 + 1]]


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path, monkeypatch):
    path = write_fcs(tmp_path / "a.fcs", VALUES, channels=CHANNELS)
    before = path.read_bytes()

    def full(_descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_fcs(path, VALUES * 2, channels=CHANNELS)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.fcs"]


@pytest.mark.parametrize(
    ("values", "how", "match"),
    [
        (VALUES, {"channels": ["A", "B"]}, "2 channels for 3 columns"),
        (VALUES, {"channels": CHANNELS, "markers": ["CD3"]}, "1 markers"),
        (VALUES, {"channels": ["A", "A", "B"]}, "share a name: A"),
        (VALUES, {"channels": ["A", " ", "B"]}, "no name"),
        (VALUES[0], {"channels": ["A"]}, "not a table"),
        ([["x"]], {"channels": ["A"]}, "not a table"),
        (VALUES, {"channels": CHANNELS, "spillover": np.eye(2)}, "spillover"),
        (VALUES, {"channels": ["A,1", "B", "C"], "spillover": np.eye(3)}, "comma"),
    ],
)
def test_bad_input_writes_nothing(tmp_path, values, how, match):
    with pytest.raises(InputError, match=match):
        write_fcs(tmp_path / "a.fcs", values, **how)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        write_fcs(tmp_path / "none" / "a.fcs", np.eye(2), channels=["A", "B"])
