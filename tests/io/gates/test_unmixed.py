"""Gates drawn on unmixed events: the dyes are the channels, and a matrix over the dyes is one more step."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.io.gates.workspace_maker import (
    NAMESPACES,
    SPILL,
    dimension,
    matrix,
    polygon,
    population,
    rectangle,
    sample,
    scale,
    workspace,
)

from cellprec.cytometry.compensation.compensate import compensate
from cellprec.cytometry.compensation.unmix import unmix
from cellprec.cytometry.scales.transform import estimate_transform, transform
from cellprec.errors import InputError, UsageError
from cellprec.io.export import write_fcs
from cellprec.io.fcs import read_fcs
from cellprec.io.gates import apply_gates
from cellprec.notes import get_notes

DETECTORS = ["B1-A", "B2-A", "B3-A"]
MIX = np.array([[1, 0.5, 0.1], [0.1, 0.6, 1]])
DYES = ("FITC", "PE/Cy7")
IN_FLOWJO = ("FITC", "PE_Cy7")


@pytest.fixture
def amounts():
    return np.random.default_rng(5).uniform(-500, 20_000, (2000, 2))


@pytest.fixture
def unmixed(tmp_path, amounts):
    values = np.column_stack([np.linspace(0, 9000, len(amounts)), amounts @ MIX])
    adata = read_fcs(write_fcs(tmp_path / "tube.fcs", values, channels=["FSC-A", *DETECTORS]), sample_id="P01")
    made = unmix(adata, spectra=pd.DataFrame(MIX, index=list(DYES), columns=DETECTORS), method="ols")
    np.testing.assert_allclose(made.X[:, :2], amounts, atol=0.1)
    assert "raw" not in made.layers
    return made


@pytest.fixture
def inside(tmp_path):
    def _inside(adata, *populations, shared="", **parts):
        path = tmp_path / "w.wsp"
        path.write_text(workspace(sample(*populations, name="tube.fcs", **parts), shared=shared))
        apply_gates(adata, gates=path)
        return dict(zip(map(str, adata.uns["gates"]["path"]), adata.obsm["gates"].T, strict=True))

    return _inside


def codes(adata) -> list[str]:
    return [note.code for note in get_notes(adata)]


def over(name: str, edge: float) -> str:
    return population(f"p{name}", rectangle(dimension(name, edge)))


@pytest.mark.parametrize("is_transformed", [False, True])
def test_the_dye_is_the_channel_with_and_without_prefix(unmixed, inside, is_transformed):
    linear = unmixed.X[:, :2].astype(np.float64)
    if is_transformed:
        transform(unmixed, parameters=estimate_transform(unmixed))
        assert unmixed.X[:, 0].max() < 10
    got = inside(unmixed, over("FITC", 7000), over("Comp-FITC", 9000), over("Comp-PE_Cy7", 5000), over("FSC-A", 4000))
    np.testing.assert_array_equal(got["pFITC"], linear[:, 0] >= 7000)
    np.testing.assert_array_equal(got["pComp-FITC"], linear[:, 0] >= 9000)
    np.testing.assert_array_equal(got["pComp-PE_Cy7"], linear[:, 1] >= 5000)
    np.testing.assert_array_equal(got["pFSC-A"], np.linspace(0, 9000, 2000, dtype=np.float32) >= 4000)
    assert unmixed.uns["gates_compensation"] == {"name": "none", "source": "none"}
    assert codes(unmixed) == ["gates.matrix_assumed"]
    assert "taken for the dyes" in get_notes(unmixed)[0].text


def test_plain_names_alone_assume_nothing(unmixed, inside):
    inside(unmixed, over("FITC", 7000))
    assert codes(unmixed) == []


def test_the_axis_of_a_dye_has_the_scale_of_its_compensated_name(unmixed, inside):
    x, y = unmixed.X[:, :2].astype(np.float64).T
    points = [(300, 300), (15000, 300), (15000, 15000)]
    gate = population("t", polygon("Comp-FITC", "Comp-PE_Cy7", points))
    got = inside(unmixed, gate, scales=scale("Comp-FITC") + scale("Comp-PE_Cy7"))
    np.testing.assert_array_equal(got["t"], (y > 300) & (y < x) & (x < 15000))


def test_an_identity_matrix_changes_nothing(unmixed, inside):
    held = matrix(np.eye(2), rows=IN_FLOWJO, columns=IN_FLOWJO)
    got = inside(unmixed, over("Comp-FITC", 9000), matrices=held)
    np.testing.assert_array_equal(got["pComp-FITC"], unmixed.X[:, 0] >= 9000)
    assert codes(unmixed) == []


@pytest.mark.parametrize("is_transformed", [False, True])
def test_a_matrix_over_the_dyes_is_applied_to_them(unmixed, inside, is_transformed):
    linear = unmixed.X[:, :2].astype(np.float64)
    if is_transformed:
        transform(unmixed, parameters=estimate_transform(unmixed))
    held = matrix(SPILL, name="after", rows=IN_FLOWJO, columns=IN_FLOWJO)
    got = inside(unmixed, over("Comp-FITC", 9000), over("FITC", 9000), matrices=held)
    expected = (linear @ np.linalg.inv(SPILL))[:, 0] >= 9000
    np.testing.assert_array_equal(got["pComp-FITC"], expected)
    np.testing.assert_array_equal(got["pFITC"], linear[:, 0] >= 9000)
    assert (got["pComp-FITC"] != got["pFITC"]).any()
    (note,) = get_notes(unmixed)
    assert note.code == "gates.other_compensation"
    assert "differs from no compensation by up to 0.4" in note.text


def test_compensated_after_unmixing_the_amounts_are_in_raw(unmixed, inside):
    linear = unmixed.X[:, :2].astype(np.float64)
    compensate(unmixed, spillover=pd.DataFrame(SPILL, index=list(DYES), columns=list(DYES)))
    held = matrix(SPILL, rows=IN_FLOWJO, columns=IN_FLOWJO)
    got = inside(unmixed, over("Comp-FITC", 9000), matrices=held)
    np.testing.assert_array_equal(got["pComp-FITC"], (linear @ np.linalg.inv(SPILL))[:, 0] >= 9000)


def test_the_matrix_that_unmixes_the_raw_files_is_not_that_of_the_unmixed_one(unmixed, inside):
    raw = matrix(MIX, rows=IN_FLOWJO, columns=tuple(DETECTORS), extra='spectral="1"')
    got = inside(unmixed, over("Comp-FITC", 9000), shared=raw)
    np.testing.assert_array_equal(got["pComp-FITC"], unmixed.X[:, 0] >= 9000)
    # on the sample itself it says that the gates were drawn before unmixing
    with pytest.raises(InputError, match=r"need detectors that were unmixed: B1-A, B2-A, B3-A") as caught:
        inside(unmixed, over("Comp-FITC", 9000), matrices=raw)
    assert "before unmixing" in caught.value.fix
    with pytest.raises(InputError, match=r"need detectors that were unmixed: B2-A"):
        inside(unmixed, over("B2-A", 9000))


def test_a_dye_that_is_not_there_or_not_in_the_matrix_is_refused(unmixed, inside):
    with pytest.raises(InputError, match="lacks: Comp-APC"):
        inside(unmixed, over("Comp-APC", 9000))
    part = matrix(np.eye(1), rows=("FITC",), columns=("FITC",))
    with pytest.raises(InputError, match=r"compensated values \(Comp-PE_Cy7\)"):
        inside(unmixed, over("Comp-PE_Cy7", 9000), matrices=part)


def test_transformed_without_the_amounts_is_refused(unmixed, inside):
    transform(unmixed, parameters=estimate_transform(unmixed))
    del unmixed.layers["compensated"]
    with pytest.raises(InputError, match="no longer as they were read"):
        inside(unmixed, over("FITC", 9000))


@pytest.mark.parametrize("reference", ["uncompensated", "FCS"])
def test_gating_ml_on_dyes(unmixed, tmp_path, reference):
    edge = f'gating:min="9000" gating:compensation-ref="{reference}"'
    path = tmp_path / "g.xml"
    path.write_text(
        f'<gating:Gating-ML {NAMESPACES}><gating:RectangleGate gating:id="p"><gating:dimension {edge}>'
        '<data-type:fcs-dimension data-type:name="FITC"/></gating:dimension></gating:RectangleGate></gating:Gating-ML>'
    )
    apply_gates(unmixed, gates=path)
    np.testing.assert_array_equal(unmixed.obsm["gates"][:, 0], unmixed.X[:, 0] >= 9000)


def test_events_as_stored_are_refused_unless_they_are_linear(tmp_path, inside):
    values = np.random.default_rng(0).uniform(0, 1000, (50, 2))
    path = write_fcs(tmp_path / "tube.fcs", values, channels=["FITC-A", "Time"])
    adata = read_fcs(path, scale=False)
    got = inside(adata, over("FITC-A", 500))
    np.testing.assert_array_equal(got["pFITC-A"], adata.X[:, 0] >= 500)
    head, word, tail = path.read_bytes().partition(b"$TIMESTEP")
    path.write_bytes(head + word + tail[:1] + b"2" + tail[2:])
    for layers in ((), ("raw",)):
        stored = read_fcs(path, scale=False)
        for layer in layers:
            stored.layers[layer] = stored.X.copy()
        with pytest.raises(UsageError, match="as stored in the file") as caught:
            inside(stored, over("FITC-A", 500))
        assert "scale=True" in caught.value.fix
        assert "gates" not in stored.obsm
    assert inside(read_fcs(path), over("FITC-A", 500))["pFITC-A"].any()
