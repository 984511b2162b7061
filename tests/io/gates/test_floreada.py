"""Floreada workspaces: the tree of each file, its scales, and what the file leaves out."""

from __future__ import annotations

import numpy as np
import pytest

from cellprec.errors import InputError
from cellprec.io.export import write_fcs
from cellprec.io.fcs import read_fcs
from cellprec.io.gates import apply_gates

NAMESPACES = " ".join(
    f'xmlns:{short}="http://www.isac-net.org/std/Gating-ML/v2.0/{long}"'
    for short, long in (("gating", "gating"), ("data-type", "datatypes"), ("transforms", "transformations"))
)
FLOG = "logarithmic_1.00000002e+26_8"
SCALES = (
    '<transforms:transformation transforms:id="linear_1000_0"><transforms:flin transforms:T="1000" transforms:A="0"/>'
    f'</transforms:transformation><transforms:transformation transforms:id="{FLOG}">'
    '<transforms:flog transforms:T="1000" transforms:M="3"/></transforms:transformation>'
)


def rectangle(identity: str, name: str, low: float) -> str:
    return (
        f'<gating:RectangleGate gating:id="{identity}">'
        f'<gating:dimension gating:min="{low}" gating:compensation-ref="uncompensated">'
        f'<data-type:fcs-dimension data-type:name="{name}"/></gating:dimension></gating:RectangleGate>'
    )


def triangle(identity: str, scale: str) -> str:
    axes = "".join(
        f'<gating:dimension gating:compensation-ref="uncompensated" gating:transformation-ref="{scale}">'
        f'<data-type:fcs-dimension data-type:name="{name}"/></gating:dimension>'
        for name in ("FSC-A", "SSC-A")
    )
    corners = "".join(
        "<gating:vertex>" + "".join(f'<gating:coordinate data-type:value="{v}"/>' for v in p) + "</gating:vertex>"
        for p in ((0, 0), (1, 0), (1, 1))
    )
    return f'<gating:PolygonGate gating:id="{identity}">{axes}{corners}</gating:PolygonGate>'


def gate(identity: str, name: str, inner: str = "") -> str:
    display = '<floreada:display><floreada:xparameter><floreada:parameter name="FSC-A"/></floreada:xparameter>'
    return f'<floreada:gate id="{identity}" name="{name}">{display}</floreada:display>{inner}</floreada:gate>'


def floreada(files: dict[str, str], gates: str) -> str:
    listed = "".join(
        f'<floreada:fcsfile hash="1" name="{name}">{inner}</floreada:fcsfile>' for name, inner in files.items()
    )
    return (
        f'<?xml version="1.0"?><gating:Gating-ML {NAMESPACES} xmlns:floreada="https://floreada.io/gatingml">'
        f"<data-type:custom-info><floreada:workspace>{listed}</floreada:workspace></data-type:custom-info>"
        f"{gates}{SCALES}</gating:Gating-ML>"
    )


@pytest.fixture
def events(tmp_path):
    values = np.random.default_rng(5).uniform(1, 1000, (800, 2)).astype(np.float32)
    return read_fcs(write_fcs(tmp_path / "b.fcs", values, channels=["FSC-A", "SSC-A"]))


def test_each_file_has_its_own_gates_under_their_names(events, tmp_path):
    path = tmp_path / "f.xml"
    files = {
        "a.fcs": gate("Gate1", "Cells", gate("Gate2", "High")),
        "b.fcs": gate("Gate3", "Cells", gate("Gate4", "High") + gate("Gate5", "Below")),
    }
    shapes = rectangle("Gate1", "FSC-A", 100) + rectangle("Gate2", "SSC-A", 100) + rectangle("Gate3", "FSC-A", 400)
    shapes += rectangle("Gate4", "SSC-A", 700) + triangle("Gate5", "linear_1000_0")
    path.write_text(floreada(files, shapes))
    apply_gates(events, gates=path)
    x, y = np.asarray(events.X).T
    cells = x >= 400
    assert list(events.uns["gates"]["path"]) == ["Cells", "Cells > High", "Cells > Below"]
    np.testing.assert_array_equal(events.obsm["gates"].T, [cells, cells & (y >= 700), cells & (y < x)])
    apply_gates(events, gates=path, sample_name="a")
    np.testing.assert_array_equal(events.obsm["gates"].T, [x >= 100, (x >= 100) & (y >= 100)])


def test_polygons_stand_on_their_scale(events, tmp_path):
    path = tmp_path / "f.xml"
    path.write_text(floreada({"b.fcs": gate("Gate1", "g")}, triangle("Gate1", FLOG)))
    apply_gates(events, gates=path)
    x, y = 1 + np.log10(np.asarray(events.X, dtype=np.float64).T / 1000) / 3
    np.testing.assert_array_equal(events.obsm["gates"][:, 0], (x > 0) & (x < 1) & (y > 0) & (y < x))


def test_what_is_missing_is_refused(events, tmp_path):
    path = tmp_path / "f.xml"
    path.write_text(floreada({"b.fcs": gate("Gate9", "lost")}, rectangle("Gate1", "FSC-A", 1)))
    with pytest.raises(InputError, match="'lost' has no shape"):
        apply_gates(events, gates=path)
    path.write_text(floreada({"b.fcs": gate("Gate1", "g")}, triangle("Gate1", "biex_7")))
    with pytest.raises(InputError, match="needs 'biex_7', which the file does not define"):
        apply_gates(events, gates=path)
    path.write_text(floreada({"x.fcs": "", "y.fcs": ""}, rectangle("Gate1", "FSC-A", 1)))
    with pytest.raises(InputError, match=r"no sample called 'b\.fcs'"):
        apply_gates(events, gates=path)
    assert "gates" not in events.obsm
