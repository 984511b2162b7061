"""Matrices as programs and people write them; where two could be meant, a question and no guess."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellprec.errors import FileFormatError, InputError
from cellprec.io.compensation import read_compensation

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[3] / "shared" / "data")) / "cytometry"

NAMES = ["FITC-A", "PE-A", "APC-A"]
MATRIX = np.array([[1, 0.25, 0.001], [0.02, 1, 0.125], [0, 0.5, 1]])
WANTED = pd.DataFrame(MATRIX, index=NAMES, columns=NAMES)

TABLES = {
    "plain": "name,FITC-A,PE-A,APC-A\nFITC-A,1,.25,1e-3\nPE-A,0.02,1,0.125\nAPC-A,0,0.5,1\n",
    "flowjo": ",FITC-A :: CD3,PE-A :: CD4,APC-A :: CD8\nFITC-A :: CD3,1,0.25,0.001\nPE-A :: CD4,0.02,1,0.125\n"
    "APC-A :: CD8,0,0.5,1\n",
    "excel": "\ufeff;FITC-A;PE-A;APC-A\r\nFITC-A;1;0,25;0,001\r\nPE-A;0,02;1;0,125\r\nAPC-A;0;0,5;1\r\n",
    "percent": "\tFITC-A\tPE-A\tAPC-A\nFITC-A\t100\t25\t0.1\nPE-A\t2\t100\t12.5\nAPC-A\t0\t50\t100\n",
    "percent signs": ",FITC-A,PE-A,APC-A\nFITC-A,100%,25 %,0.1%\nPE-A,2%,100%,12.5%\nAPC-A,0%,50%,100%\n",
    "R": '"FITC-A" "PE-A" "APC-A"\n"FITC-A" 1 0.25 0.001\n"PE-A" 0.02 1 0.125\n"APC-A" 0 0.5 1\n',
    "R csv": '"","FITC-A","PE-A","APC-A"\n"FITC-A",1,0.25,0.001\n"PE-A",0.02,1,0.125\n"APC-A",0,0.5,1\n',
    "rows in another order": ",FITC-A,PE-A,APC-A\nAPC-A,0,0.5,1\nFITC-A,1,0.25,0.001\nPE-A,0.02,1,0.125\n",
    "no names of rows": "FITC-A,PE-A,APC-A\n1,0.25,0.001\n0.02,1,0.125\n0,0.5,1\n",
    "separator at the end": ",FITC-A,PE-A,APC-A,\nFITC-A,1,0.25,0.001,\nPE-A,0.02,1,0.125,\nAPC-A,0,0.5,1,\n",
    "old FlowJo": "Tube 1\r<\t>\rFITC-A\tPE-A\tAPC-A\r1\t0.25\t1e-3\r0.02\t1\t0.125\r0\t0.5\t1\r",
}


@pytest.mark.parametrize("kind", TABLES)
def test_every_way_to_write_the_table_gives_the_same(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "matrix.csv"
    path.write_bytes(TABLES[kind].encode())
    found = read_compensation(path)
    pd.testing.assert_frame_equal(found, WANTED)
    assert bool(found.attrs["notes"]) == (kind in ("no names of rows", "old FlowJo"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (",A,B\nA,1,x\nB,0,1\n", "'x'"),
        (",A,B\nA,1,\nB,0,1\n", "no number"),
        (",A,B\nA,1,inf\nB,0,1\n", "no number"),
        (",A,B\nA,1,0\nC,0,1\n", "same channels"),
        (",A,B\nA,1,0\n", "same channels"),
        ("A,B\n1,0\n0,1\n0,1\n", "same channels"),
        (",A,B\nA,1,0\nB,0,0.9\n", "diagonal"),
        (",A,B\nA,100,0\nB,0,1\n", "diagonal"),
    ],
)
def test_what_is_no_matrix_is_refused_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "matrix.csv"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=told) as caught:
        read_compensation(path)
    assert str(path) in caught.value.where


SPACES = (
    'xmlns:transforms="http://www.isac-net.org/std/Gating-ML/v2.0/transformations" '
    'xmlns:data-type="http://www.isac-net.org/std/Gating-ML/v2.0/datatypes"'
)


def spillover_xml(name: str, values: np.ndarray) -> str:
    rows = "".join(
        f'<transforms:spillover data-type:parameter="{dye}">'
        + "".join(
            f'<transforms:coefficient data-type:parameter="{NAMES[j]}" transforms:value="{values[i, j]!r}"/>'
            for j in (2, 0, 1)
        )
        + "</transforms:spillover>"
        for i, dye in enumerate(NAMES)
    )
    return f'<transforms:spilloverMatrix name="{name}" transforms:id="id-{name}">{rows}</transforms:spilloverMatrix>'


def workspace(path: Path, samples: dict[str, tuple[str, np.ndarray] | None], unused: str = "") -> Path:
    held = "".join(
        f'<Sample><DataSet uri="file:/C:/data/{name.replace(" ", "%20")}.fcs"/>'
        + (spillover_xml(*matrix) if matrix else "")
        + f'<SampleNode name="{name}"/></Sample>'
        for name, matrix in samples.items()
    )
    inner = f"<Matrices>{unused}</Matrices><SampleList>{held}</SampleList>"
    path.write_text(f'<?xml version="1.0"?><Workspace {SPACES}>{inner}</Workspace>')
    return path


def as_floats(values: np.ndarray) -> np.ndarray:
    return np.array([[float(value) for value in row] for row in values], dtype=object)


def test_a_workspace_with_one_matrix_needs_no_name(tmp_path: Path) -> None:
    one = as_floats(MATRIX)
    unused = spillover_xml("never used", as_floats(np.eye(3)))
    path = workspace(tmp_path / "a.wsp", {"P 1": ("M", one), "P2": ("M", one), "P3": None}, unused)
    found = read_compensation(path)
    pd.testing.assert_frame_equal(found, WANTED)
    pd.testing.assert_frame_equal(read_compensation(path, sample="p 1.FCS"), WANTED)
    assert read_compensation(path, name="never used").to_numpy().tolist() == np.eye(3).tolist()
    with pytest.raises(InputError, match="sample 'P3'") as caught:
        read_compensation(path, sample="P3")
    assert "P 1" in caught.value.why


def test_a_workspace_with_several_asks_which(tmp_path: Path) -> None:
    other = MATRIX.copy()
    other[0, 1] = 0.3
    path = workspace(tmp_path / "a.wsp", {"P1": ("M", as_floats(MATRIX)), "P2": ("N", as_floats(other))})
    with pytest.raises(InputError, match="several") as caught:
        read_compensation(path)
    assert "M (samples: P1" in caught.value.why
    assert "N (samples: P2" in caught.value.why
    assert read_compensation(path, sample="P2").loc["FITC-A", "PE-A"] == 0.3
    assert read_compensation(path, name="M").loc["FITC-A", "PE-A"] == 0.25


def test_a_flowjo_matrix_in_xml_and_nothing_to_find(tmp_path: Path) -> None:
    path = tmp_path / "m.mtx"
    path.write_text(f"<gating {SPACES}>{spillover_xml('M', as_floats(MATRIX))}</gating>")
    pd.testing.assert_frame_equal(read_compensation(path), WANTED)
    path.write_text(f"<gating {SPACES}/>")
    with pytest.raises(InputError, match="no spillover matrix"):
        read_compensation(path)
    path.write_text(f"<gating {SPACES}>")
    with pytest.raises(FileFormatError, match="whole XML"):
        read_compensation(path)
    with pytest.raises(InputError, match="no such file"):
        read_compensation(tmp_path / "none.csv")


def spectrum(dyes: list[str], detectors: list[str], values: list[list[float]], inverted: str = "") -> str:
    def named(part: str, names: list[str]) -> str:
        inner = "".join(f'<data-type:fcs-dimension data-type:name="{name}"/>' for name in names)
        return f"<transforms:{part}>{inner}</transforms:{part}>"

    rows = "".join(
        "<transforms:spectrum>"
        + "".join(f'<transforms:coefficient transforms:value="{value}"/>' for value in row)
        + "</transforms:spectrum>"
        for row in values
    )
    inner = named("fluorochromes", dyes) + named("detectors", detectors) + rows
    return (
        f'<g {SPACES}><transforms:spectrumMatrix transforms:id="S" {inverted}>{inner}</transforms:spectrumMatrix></g>'
    )


def test_a_square_spectrum_matrix_is_named_by_detector(tmp_path: Path) -> None:
    path = tmp_path / "gates.xml"
    path.write_text(spectrum(["FITC", "PE", "APC"], NAMES, MATRIX.tolist()))
    pd.testing.assert_frame_equal(read_compensation(path), WANTED)
    path.write_text(spectrum(["FITC"], NAMES, MATRIX[:1].tolist()))
    with pytest.raises(InputError, match="1 dyes in 3 detectors"):
        read_compensation(path)
    path.write_text(spectrum(["FITC", "PE", "APC"], NAMES, MATRIX[:2].tolist()))
    with pytest.raises(FileFormatError, match="lacks"):
        read_compensation(path)
    inverted = 'transforms:matrix-inverted-already="true"'
    path.write_text(spectrum(["FITC", "PE", "APC"], NAMES, MATRIX.tolist(), inverted))
    with pytest.raises(InputError, match="inverted"):
        read_compensation(path)


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason="the real data sets are not there")
def test_real_files() -> None:
    import flowkit  # noqa: PLC0415

    path = DATA / "flowsom_68983" / "gating.wsp"
    found = read_compensation(path, sample="68983.fcs")
    held = flowkit.Workspace(str(path), load_missing_file_data=True).get_comp_matrix("68983.fcs")
    np.testing.assert_array_equal(found.to_numpy(), held.matrix)
    assert list(found.columns) == list(held.detectors)
    assert read_compensation(DATA / "flowkit_wsp" / "comp_complete_example.csv").shape == (14, 14)
    assert read_compensation(DATA / "flowcore_compensation" / "compmatrix.txt").loc["FL1-H", "FL2-H"] == 0.24
    assert read_compensation(DATA / "flowcore_compensation" / "compref.txt").loc["FL3-H", "FL4-H"] == 0.229593859843027
    gates = DATA / "flowkit_gatingml" / "gml" / "gml_matrix_rect3_gate.xml"
    assert read_compensation(gates).loc["FL2-H", "FL1-H"] == 0.11
