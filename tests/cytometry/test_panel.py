from __future__ import annotations

import anndata
import pandas as pd
import pytest

from cellprec.cytometry.panel import canonical_names, find_channels, lineage_channels, near_misses


def panel(rows: list[tuple[str, str, str]]) -> anndata.AnnData:
    var = pd.DataFrame(rows, columns=["channel", "marker", "kind"])
    var.index = [marker or channel for channel, marker, _ in rows]
    return anndata.AnnData(shape=(0, len(rows)), var=var)


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ("CD8", "146Nd_CD8a"),
        ("CD14", "168Er_CD14"),
        ("CD19", "CD19"),
        ("CCR7", "167Er_CD197_CCR7"),
        ("CD197", "CCR7"),
        ("HLA-DR", "173Yb_HLA-DR"),
        ("HLADR", "HLA-DR"),
        ("TCRgd", "TCR γδ"),
        ("TCRgd", "TCRyd"),
        ("CD56", "163Dy_CD56_NCAM"),
        ("CD3", "CD3 APC"),
        ("CD8", "BV650 - CD8a"),
    ],
)
def test_spellings_that_mean_the_same(asked: str, written: str) -> None:
    adata = panel([("Er167Di", written, "mass"), ("Y89Di", "89Y_CD45", "mass")])
    assert find_channels(adata, names=[asked]) == {asked: written}


@pytest.mark.parametrize(
    ("one", "other"), [("CD4", "CD45"), ("CD4", "145Nd_CD45RA"), ("CD3", "CD38"), ("CD1", "CD19"), ("CD45RA", "CD45RO")]
)
def test_markers_that_look_alike_are_not_the_same(one: str, other: str) -> None:
    assert not canonical_names(one) & canonical_names(other)


def test_two_candidates_are_none() -> None:
    adata = panel([("FITC-A", "CD8 FITC", "fluorescence"), ("APC-A", "CD8 APC", "fluorescence")])
    assert find_channels(adata, names=["CD8"]) == {}
    assert find_channels(adata, names=["CD8 APC", "FITC-A"]) == {"CD8 APC": "CD8 APC", "FITC-A": "CD8 FITC"}
    assert find_channels(adata, names=["CD8"], within=["CD8 APC"]) == {"CD8": "CD8 APC"}


def test_near_misses_come_from_channels_and_markers() -> None:
    adata = panel([("Nd146Di", "CD8a", "mass"), ("Y89Di", "CD45", "mass")])
    assert near_misses(adata, name="Nd147Di") == ["Nd146Di"]
    assert near_misses(adata, name="zzzzz") == []


def test_only_stained_antibodies_tell_cells_apart() -> None:
    adata = panel(
        [
            ("Time", "", "time"),
            ("Ir191Di", "191Ir_DNA1", "mass"),
            ("Ce140Di", "140Ce_Bead", "mass"),
            ("Pt195Di", "195Pt_Cisplatin", "mass"),
            ("Cs133Di", "133Cs", "mass"),
            ("BCKG190Di", "190BCKG", "mass"),
            ("Cd111Di", "111Cd_CD19", "mass"),
            ("Sm154Di", "CD27", "mass"),
            ("Gd155Di", "", "mass"),
            ("Event_length", "", "other"),
        ]
    )
    assert lineage_channels(adata) == ["111Cd_CD19", "CD27"]


def test_flow_panels_leave_viability_and_heights_out() -> None:
    adata = panel(
        [
            ("FSC-A", "", "scatter"),
            ("FITC-A", "CD3", "fluorescence"),
            ("AmCyan-A", "l/d", "fluorescence"),
            ("BV510-A", "Zombie Aqua", "fluorescence"),
            ("PE-A", "CD16", "fluorescence"),
            ("Qdot 605-A", "", "fluorescence"),
        ]
    )
    assert lineage_channels(adata) == ["CD3", "CD16"]
    bare = panel([("FL1-A", "", "fluorescence"), ("FL1-H", "", "fluorescence"), ("FL2-A", "", "fluorescence")])
    assert lineage_channels(bare) == ["FL1-A", "FL2-A"]


def test_a_named_height_stays_where_its_area_has_no_marker() -> None:
    heights = [("FL1-H", "CD3", "fluorescence"), ("FL2-H", "CD4", "fluorescence")]
    assert lineage_channels(panel([*heights, ("FL2-A", "", "fluorescence")])) == ["CD3", "CD4"]
    assert lineage_channels(panel([*heights, ("FL2-A", "CD4 area", "fluorescence")])) == ["CD3", "CD4 area"]
