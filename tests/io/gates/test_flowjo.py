"""FlowJo workspaces against membership computed by hand: compensation, scales, shapes, booleans."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.io.gates.workspace_maker import (
    BIEX,
    SPILL,
    boolean,
    dimension,
    ellipse,
    matrix,
    polygon,
    population,
    rectangle,
    sample,
    scale,
    shape,
    workspace,
)

from cellprec.errors import InputError
from cellprec.io.export import write_fcs
from cellprec.io.fcs import read_fcs
from cellprec.io.gates import apply_gates
from cellprec.notes import get_notes


def test_the_plain_name_is_the_stored_value_and_the_prefix_the_compensated_one(gated, values):
    got = gated(
        population("raw", rectangle(dimension("FITC-A", 5000))),
        population("comp", rectangle(dimension("Comp-FITC-A", 5000))),
        population("both", rectangle(dimension("Comp-PE-A", 5000), dimension("PE-A", None, 9000))),
        matrices=matrix(),
    )
    np.testing.assert_array_equal(got["raw"], values["FITC-A"] >= 5000)
    np.testing.assert_array_equal(got["comp"], values["Comp-FITC-A"] >= 5000)
    np.testing.assert_array_equal(got["both"], (values["Comp-PE-A"] >= 5000) & (values["PE-A"] < 9000))
    assert (got["raw"] != got["comp"]).any()


def test_each_axis_has_the_scale_of_exactly_its_channel(gated, values):
    # a triangle has other events on a log scale than on a linear one
    points = [(300, 300), (15000, 300), (15000, 15000)]
    log = 'log transforms:offset="100" transforms:decades="3"'
    got = gated(
        population("raw", polygon("FITC-A", "PE-A", points)),
        population("comp", polygon("Comp-FITC-A", "FSC-A", [(300, 0), (15000, 0), (15000, 10000)])),
        matrices=matrix(),
        scales=scale("FITC-A") + scale("PE-A") + scale("Comp-FITC-A", log) + scale("FSC-A"),
    )
    x, y = values["FITC-A"], values["PE-A"]
    np.testing.assert_array_equal(got["raw"], (y > 300) & (y < x) & (x < 15000))
    along = (np.log10(np.maximum(values["Comp-FITC-A"], 100)) - np.log10(300)) / np.log10(50)
    expected = (values["FSC-A"] > 0) & (values["FSC-A"] < 10000 * along) & (along < 1)
    np.testing.assert_array_equal(got["comp"], expected)


def test_matrix_of_the_file_or_of_the_workspace_stands_in_and_is_noted_else_refused(events, gated, values, tmp_path):
    gate = population("comp", rectangle(dimension("Comp-FITC-A", 5000)))
    with pytest.raises(InputError, match=r"compensated values \(Comp-FITC-A\)"):
        gated(gate)
    expected = values["Comp-FITC-A"] >= 5000
    path = tmp_path / "shared.wsp"
    path.write_text(workspace(sample(gate, name="tube.fcs"), shared=matrix(name="shared")))
    apply_gates(events, gates=path)
    np.testing.assert_array_equal(events.obsm["gates"][:, 0], expected)
    assert events.uns["gates_compensation"]["name"] == "shared"
    events.varp["spillover"] = np.eye(4)
    events.varp["spillover"][1:3, 1:3] = SPILL
    np.testing.assert_array_equal(gated(gate)["comp"], expected)
    assert events.uns["gates_compensation"]["source"] == "file"
    assert [note.code for note in get_notes(events)].count("gates.matrix_assumed") == 2


def test_a_matrix_other_than_that_of_the_file_is_noted(events, gated):
    events.varp["spillover"] = np.eye(4)
    events.varp["spillover"][1:3, 1:3] = SPILL
    gate = population("comp", rectangle(dimension("Comp-FITC-A", 5000)))
    gated(gate, matrices=matrix(SPILL + np.array([[0, 1e-6], [0, 0]])))
    assert get_notes(events) == []
    gated(gate, matrices=matrix(SPILL + np.array([[0, 0.05], [0, 0]]), name="mine"))
    (note,) = get_notes(events)
    assert note.code == "gates.other_compensation"
    assert "mine" in note.text
    assert "0.05" in note.text


def test_channels_that_were_compensated_before_are_taken_as_they_are(tmp_path):
    values = np.random.default_rng(0).normal(0, 1000, (500, 2)).astype(np.float32)
    adata = read_fcs(write_fcs(tmp_path / "x.fcs", values, channels=["Comp-FITC-A", "Comp-PE-A"]))
    path = tmp_path / "w.wsp"
    path.write_text(workspace(sample(population("p", rectangle(dimension("Comp-FITC-A", 0))), name="x.fcs")))
    apply_gates(adata, gates=path)
    np.testing.assert_array_equal(adata.obsm["gates"][:, 0], values[:, 0] >= 0)
    assert adata.uns["gates_compensation"] == {"name": "none", "source": "none"}


def test_compensated_events_without_raw_ones_are_refused(events, gated):
    events.layers["compensated"] = events.X.copy()
    gate = population("p", rectangle(dimension("FITC-A", 0)))
    with pytest.raises(InputError, match="no longer as they were read"):
        gated(gate)
    events.layers["raw"] = events.X.copy()
    assert gated(gate)["p"].any()


def test_spectral_least_squares_and_two_matrices(gated, values):
    tall = np.array([[1, 0.4]])
    got = gated(population("p", rectangle(dimension("Comp-FITC-A", 5000))), matrices=matrix(tall, extra='spectral="1"'))
    raw = np.column_stack([values["FITC-A"], values["PE-A"]])
    expected, *_ = np.linalg.lstsq(tall.T, raw.T, rcond=None)
    np.testing.assert_array_equal(got["p"], expected[0] >= 5000)
    weighted = matrix(tall, extra='spectral="1" weightOptAlgorithmType="WLSM"')
    with pytest.raises(InputError, match="WLSM"):
        gated(population("p", rectangle(dimension("FITC-A", 5000))), matrices=weighted)
    with pytest.raises(InputError, match="several compensation matrices"):
        gated(population("p", rectangle(dimension("Comp-PE-A", 0))), matrices=matrix() + matrix(name="N"))
    second = gated(
        population("p", rectangle(dimension("Comp2-PE-A", 5000))),
        matrices=matrix() + matrix(np.eye(2), prefix="Comp2-"),
    )
    np.testing.assert_array_equal(second["p"], values["PE-A"] >= 5000)


@pytest.mark.parametrize("inside", [1, 0])
def test_inside_and_outside(gated, values, inside):
    square = [(1000, 1000), (9000, 1000), (9000, 9000), (1000, 9000)]
    got = gated(
        population("top", rectangle(dimension("FSC-A", 3000)),
            population("r", rectangle(dimension("FITC-A", 1000, 9000), dimension("PE-A", 1000, 9000), inside=inside)),
            population("p", polygon("FITC-A", "PE-A", square, inside=inside)),
        ),
        scales=scale("FITC-A") + scale("PE-A"),
    )  # fmt: skip
    x, y = values["FITC-A"], values["PE-A"]
    within = (x >= 1000) & (x < 9000) & (y >= 1000) & (y < 9000)
    expected = (values["FSC-A"] >= 3000) & (within == bool(inside))
    np.testing.assert_array_equal(got["top > r"], expected)
    np.testing.assert_array_equal(got["top > p"], expected)


def test_booleans_of_gates_that_come_later_and_have_slashes_in_their_names(gated, values):
    got = gated(
        boolean("Not", "rest", "A/A+", "B"),
        boolean("And", "both", "A/A+", "B", children=population("high", rectangle(dimension("FSC-A", 10000)))),
        boolean("Or", "any", "A/A+", "B"),
        population("A", rectangle(dimension("FSC-A", 0)), population("A+", rectangle(dimension("FITC-A", 9000)))),
        population("B", rectangle(dimension("PE-A", 9000))),
        population("CD4+/CD8-", rectangle(dimension("PE-A", 1))),
    )
    a, b = (values["FSC-A"] >= 0) & (values["FITC-A"] >= 9000), values["PE-A"] >= 9000
    np.testing.assert_array_equal(got["both"], a & b)
    np.testing.assert_array_equal(got["both > high"], a & b & (values["FSC-A"] >= 10000))
    np.testing.assert_array_equal(got["any"], a | b)
    np.testing.assert_array_equal(got["rest"], ~(a | b))
    np.testing.assert_array_equal(got["CD4+/CD8-"], values["PE-A"] >= 1)
    for node, said in (
        (boolean("Not", "n", "nowhere"), "no such gate"),
        (boolean("And", "n"), "refers to no gate"),
        (boolean("Or", "n", "m") + boolean("Or", "m", "n"), "refers to itself"),
    ):
        with pytest.raises(InputError, match=said):
            gated(node)


def test_siblings_of_one_name_stay_apart(gated, values):
    got = gated(
        population("T", rectangle(dimension("PE-A", 0)), population("x", rectangle(dimension("FSC-A", 9000)))),
        population("T", rectangle(dimension("PE-A", 9000)), population("x", rectangle(dimension("FSC-A", 15000)))),
    )
    assert list(got) == ["T", "T > x", "T #2", "T #2 > x"]
    np.testing.assert_array_equal(got["T #2 > x"], (values["PE-A"] >= 9000) & (values["FSC-A"] >= 15000))


@pytest.mark.parametrize("minor_first", [False, True])
@pytest.mark.parametrize("angle", [0.0, 0.6, np.pi / 2, 2.5])
def test_ellipses_at_any_angle(gated, values, angle, minor_first):
    # FlowJo writes ellipses on 256 channels of the axis; here the axis runs from -1000 to 24600
    center, long, short = np.array([120.0, 110.0]), 60.0, 25.0
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    focus = np.sqrt(long**2 - short**2) * along
    edge = [center + long * along, center - long * along, center + short * across, center - short * across]
    edge = edge[2:] + edge[:2] if minor_first else edge
    axis = 'linear transforms:minRange="-1000" transforms:maxRange="24600" gain="1"'
    got = gated(
        population("e", ellipse("FITC-A", "PE-A", [tuple(center - focus), tuple(center + focus)], [*map(tuple, edge)])),
        scales=scale("FITC-A", axis) + scale("PE-A", axis),
    )["e"]
    at = (np.column_stack([values["FITC-A"], values["PE-A"]]) + 1000) / 25600 * 256 - center
    distance = (at @ along / long) ** 2 + (at @ across / short) ** 2
    # FlowKit draws 128 corners: only events within a thousandth of the edge may differ
    clear = np.abs(distance - 1) > 3e-3
    np.testing.assert_array_equal(got[clear], distance[clear] < 1)
    assert clear.mean() > 0.99


def test_a_circle_has_one_focus(gated, values):
    edge = [(160.0, 100.0), (40.0, 100.0), (100.0, 160.0), (100.0, 40.0)]
    axis = 'linear transforms:minRange="0" transforms:maxRange="25600" gain="1"'
    got = gated(
        population("c", ellipse("FITC-A", "PE-A", [(100, 100), (100, 100)], edge)),
        scales=scale("FITC-A", axis) + scale("PE-A", axis),
    )["c"]
    distance = np.hypot(values["FITC-A"] / 100 - 100, values["PE-A"] / 100 - 100) / 60
    clear = np.abs(distance - 1) > 2e-3
    np.testing.assert_array_equal(got[clear], distance[clear] < 1)


def test_an_edge_at_the_end_of_the_scale_is_open_and_one_inside_is_not(gated, values):
    # the low end of this biex scale is -1636.3
    got = gated(
        population("open", rectangle(dimension("Comp-FITC-A", -1640, 1000))),
        population("drawn", rectangle(dimension("Comp-FITC-A", -1600, 1000))),
        population("log", rectangle(dimension("PE-A", 10, 5000))),
        matrices=matrix(np.array([[1, 0], [0.5, 1]])),
        scales=scale("Comp-FITC-A", BIEX) + scale("PE-A", 'log transforms:offset="10" transforms:decades="4"'),
    )
    x = values["FITC-A"] - 0.5 * values["PE-A"]
    assert (x < -1700).any()
    np.testing.assert_array_equal(got["open"], x < 1000)
    np.testing.assert_array_equal(got["drawn"], (x >= -1600) & (x < 1000))
    np.testing.assert_array_equal(got["log"], values["PE-A"] < 5000)


def test_time_gates_count_seconds_as_flowjo_does(gated, values):
    # 4,000 ticks in 60 s: FlowJo divides the length of the run by the ticks, whatever $TIMESTEP says
    got = gated(
        population("t", rectangle(dimension("Time", 15, 45))),
        scales=scale("Time", 'linear transforms:minRange="0" transforms:maxRange="60" gain="0.015"'),
    )["t"]
    seconds = np.arange(4000) * 0.015
    np.testing.assert_array_equal(got, (seconds >= 15) & (seconds < 45))


@pytest.mark.parametrize(("channel", "step"), [("Time", b"4"), ("Time", b"0"), ("HDR-T", b"4")])
def test_time_gates_undo_the_step_that_brought_the_clock_to_seconds(tmp_path, channel, step):
    # the clock of the file counts 0, 1, 2 ...; FlowJo makes 15 ms of each tick
    ticks = np.arange(4000, dtype=np.float32)
    path = write_fcs(tmp_path / "t.fcs", ticks[:, None], channels=[channel], keywords={"$TIMESTEP": "1"})
    head, word, tail = path.read_bytes().partition(b"$TIMESTEP")
    if word:
        assert tail[1:2] == b"1"
        path.write_bytes(head + word + tail[:1] + step + tail[2:])
    adata = read_fcs(path)
    if not word:
        held = json.loads(adata.uns["fcs"]["keywords"]) | {"$TIMESTEP": step.decode()}
        adata.uns["fcs"]["keywords"] = json.dumps(held)
    seconds = 4 if (channel, step) == ("Time", b"4") else 1
    np.testing.assert_array_equal(np.asarray(adata.X)[:, 0], ticks * seconds)
    axis = 'linear transforms:minRange="0" transforms:maxRange="60" gain="0.015"'
    gate = population("t", rectangle(dimension(channel, 15.005, 45.005)))
    workspace_file = tmp_path / "w.wsp"
    workspace_file.write_text(workspace(sample(gate, name="t.fcs", scales=scale(channel, axis))))
    apply_gates(adata, gates=workspace_file)
    np.testing.assert_array_equal(adata.obsm["gates"][:, 0], (ticks > 1000) & (ticks <= 3000))


def test_two_axes_of_one_channel(gated, values):
    points = [(0, 0), (10000, 0), (10000, 10000), (0, 10000)]
    got = gated(population("p", polygon("FITC-A", "FITC-A", points)), scales=scale("FITC-A"))["p"]
    np.testing.assert_array_equal(got, (values["FITC-A"] > 0) & (values["FITC-A"] < 10000))


@pytest.mark.parametrize(
    ("node", "parts", "said"),
    [
        (population("Q", shape("CurlyQuad", dimension("FITC-A", 1))), {}, "Q is a CurlyQuad"),
        (population("Q", "<Gate/>"), {}, "Q is a population without a shape"),
        ('<ClusterNode name="k"><Gate/></ClusterNode>', {}, "'k' is a ClusterNode"),
        (
            population("p", polygon("FITC-A", "PE-A", [(0, 0), (1, 0), (1, 1)])),
            {},
            "p cannot be drawn on the axis FITC",
        ),
        (
            population("p", polygon("FITC-A", "FSC-A", [(0, 0), (1, 0), (1, 1)])),
            {"scales": scale("FITC-A", "miltenyi") + scale("FSC-A")},
            "p cannot be drawn on the axis FITC",
        ),
        (
            population("p", rectangle(dimension("ratio", 1))),
            {"extra": '<DerivedParameters><DerivedParameter name="ratio"/></DerivedParameters>'},
            "'ratio', a parameter that FlowJo derived",
        ),
        (population("p", rectangle(dimension("BV421-A", 1))), {}, "lacks: BV421-A"),
    ],
)
def test_what_cannot_be_evaluated_is_named(events, gated, node, parts, said):
    deep = population("top", rectangle(dimension("FSC-A", 0)), node)
    with pytest.raises(InputError, match=said):
        gated(deep, **parts)
    assert "gates" not in events.obsm


def test_an_undocumented_scale_does_not_hinder_a_rectangle(gated, values):
    got = gated(population("p", rectangle(dimension("FITC-A", 100))), scales=scale("FITC-A", "miltenyi"))
    np.testing.assert_array_equal(got["p"], values["FITC-A"] >= 100)


@pytest.mark.parametrize(
    ("node", "parts", "said"),
    [
        (population("p", rectangle(dimension("FITC-A", "1,5")), count=2), {}, "a number that is none"),
        (population("p", rectangle(dimension("FITC-A", 1)), count="many"), {}, "a number that is none"),
        (population("p", rectangle(dimension("Comp-PE-A", 1))), {"matrices": matrix(np.ones((2, 2)))}, "no inverse"),
        (population("p", rectangle(dimension("PE-A", 1))), {"matrices": matrix(SPILL * np.nan)}, "is not whole"),
    ],
)
def test_broken_numbers_are_refused(gated, node, parts, said):
    with pytest.raises(InputError, match=said):
        gated(node, **parts)


def test_no_events(events, tmp_path):
    path = tmp_path / "w.wsp"
    square = polygon("FITC-A", "PE-A", [(0, 0), (1, 0), (1, 1)])
    made = population("p", square), population("r", rectangle(dimension("FITC-A", 1))), boolean("Not", "n", "r")
    path.write_text(workspace(sample(*made, name="tube.fcs", scales=scale("FITC-A") + scale("PE-A"))))
    empty = events[:0].copy()
    apply_gates(empty, gates=path)
    assert empty.obsm["gates"].shape == (0, 3)


def test_flowjo_before_10_is_refused(events, tmp_path):
    path = tmp_path / "old.wsp"
    path.write_text(workspace(sample(name="tube.fcs"), version="9.3.2"))
    with pytest.raises(InputError, match=r"FlowJo 9\.3\.2 wrote it"):
        apply_gates(events, gates=path)


def test_a_broken_gate_of_another_sample_does_no_harm(events, tmp_path, values):
    bad = sample(population("Q", shape("CurlyQuad", dimension("FITC-A", 1))), name="other.fcs")
    good = sample(population("p", rectangle(dimension("FITC-A", 9))), name="tube.fcs")
    path = tmp_path / "w.wsp"
    path.write_text(workspace(bad, good))
    apply_gates(events, gates=path)
    np.testing.assert_array_equal(events.obsm["gates"][:, 0], values["FITC-A"] >= 9)
