"""The shapes of a FlowJo workspace written so that FlowKit draws each as FlowJo does: flat, on named columns."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from lxml import etree  # type: ignore[import-untyped]

from cellprec.errors import InputError
from cellprec.io.gates.flowkit import DATA_TYPE, GATING, TRANSFORMS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_SPACES = {"gating": GATING[1:-1], "transforms": TRANSFORMS[1:-1], "data-type": DATA_TYPE[1:-1]}
# FlowKit reads the scales that it can draw on; those of other names are undocumented
_DRAWABLE = ("linear", "log", "logicle", "biex", "fasinh")
_BIEX_TOP = 4096.0


def flatten(shapes: Sequence[Any], scales: Mapping[str, Any], *, gates: Path) -> tuple[bytes, list[str]]:
    """Write a workspace with every shape at its root, and tell which values stand behind its columns d0, d1, ...

    shapes: populations with ``shape`` and ``said``; they become g0, g1, ... scales: axis scales by channel name.

    A rectangle needs no scale: its edges are compared with the linear values; an edge at the end of a scale that has
    one (biex, log) is open, since FlowJo piles up there what lies beyond. Polygons and ellipses get a column with the
    scale of exactly their channel, compensated or not. Raises InputError where that is missing or undocumented.
    """
    root = etree.Element("Workspace", nsmap=_SPACES, version="20.0", flowJoVersion="10.8.1")
    etree.SubElement(root, "Groups")
    sample = etree.SubElement(etree.SubElement(root, "SampleList"), "Sample")
    etree.SubElement(sample, "DataSet", uri="sample", sampleID="1")
    transformations = etree.SubElement(sample, "Transformations")
    etree.SubElement(sample, "Keywords")
    node = etree.SubElement(sample, "SampleNode", name="sample", sampleID="1")
    populations = etree.SubElement(node, "Subpopulations")
    columns: dict[tuple[str, bool], int] = {}
    for number, population in enumerate(shapes):
        shape = copy.deepcopy(population.shape)
        rectangle = etree.QName(shape).localname == "RectangleGate"
        dimensions = shape.findall(f"{GATING}dimension")
        for dimension in dimensions:
            place = dimension.find(f"{DATA_TYPE}fcs-dimension")
            name = place.get(f"{DATA_TYPE}name", "")
            if rectangle:
                _open_ends(dimension, scales.get(name))
            else:
                _drawable(population, name, scales, gates)
            key = (name, not rectangle)
            if key not in columns:
                columns[key] = len(columns)
                if not rectangle:
                    transformations.append(_scale(scales[name], f"d{columns[key]}"))
            place.set(f"{DATA_TYPE}name", f"d{columns[key]}")
        if etree.QName(shape).localname == "EllipsoidGate":
            _mend_ellipse(shape)
        made = etree.SubElement(populations, "Population", name=f"g{number}", owningGroup="")
        etree.SubElement(made, "Gate").append(shape)
    return etree.tostring(root), [name for name, _ in columns]


def _drawable(population: Any, name: str, scales: Mapping[str, Any], gates: Path) -> None:
    kind = etree.QName(scales[name]).localname if name in scales else ""
    if kind in _DRAWABLE:
        return
    why = f"its scale, {kind}, is undocumented" if kind else "the workspace stores no scale for it"
    raise InputError(
        f"the gate {population.said} cannot be drawn on the axis {name}",
        where=gates,
        why=why,
        fix="Set the axis to linear, log, biex, logicle or arcsinh in FlowJo, and save the workspace again.",
    )


def _scale(scale: Any, column: str) -> Any:
    made = copy.deepcopy(scale)
    made.find(f"{DATA_TYPE}parameter").set(f"{DATA_TYPE}name", column)
    low = made.get(f"{TRANSFORMS}minRange")
    if etree.QName(made).localname == "linear" and low is not None:
        # FlowJo names the value at the low end, FlowKit reads the Gating-ML parameter A, which is its negative
        made.set(f"{TRANSFORMS}minRange", repr(-float(low)))
    return made


def _open_ends(dimension: Any, scale: Any) -> None:
    low, high = _ends(scale)
    least, most = dimension.get(f"{GATING}min"), dimension.get(f"{GATING}max")
    if least is not None and float(least) <= low:
        del dimension.attrib[f"{GATING}min"]
    if most is not None and float(most) >= high:
        del dimension.attrib[f"{GATING}max"]


def _ends(scale: Any) -> tuple[float, float]:
    """Return the values at the ends of a scale beyond which FlowJo shows nothing further."""
    kind = etree.QName(scale).localname if scale is not None else ""
    if kind == "log":
        return float(scale.get(f"{TRANSFORMS}offset", "-inf")), np.inf
    if kind != "biex":
        return -np.inf, np.inf
    import flowkit  # noqa: PLC0415 (seconds to import, and only gated studies need it)

    drawn = flowkit.transforms.WSPBiexTransform(
        negative=float(scale.get(f"{TRANSFORMS}neg", 0)),
        width=float(scale.get(f"{TRANSFORMS}width", -10)),
        positive=float(scale.get(f"{TRANSFORMS}pos", 4.418540)),
        max_value=float(scale.get(f"{TRANSFORMS}maxRange", 262144.000029)),
    )
    ends = drawn.inverse(np.array([[0.0, _BIEX_TOP]]))[0]
    return float(ends[0]), float(ends[1])


def _mend_ellipse(shape: Any) -> None:
    """Bring the ellipse into the form that FlowKit reads: long axis first, and foci that differ (a circle has one)."""
    foci = shape.findall(f"{GATING}foci/{GATING}vertex")
    edge = shape.find(f"{GATING}edge")
    points = edge.findall(f"{GATING}vertex") if edge is not None else []
    if len(foci) != 2 or len(points) != 4:
        # FlowKit says itself what is wrong
        return
    at = np.array([_coordinates(vertex) for vertex in foci])
    around = np.array([_coordinates(vertex) for vertex in points])
    center = at.mean(axis=0)
    reach = np.linalg.norm(around - center, axis=1)
    if max(reach[2:]) > max(reach[:2]):
        for vertex in points[:2]:
            edge.remove(vertex)
            edge.append(vertex)
        around = around[[2, 3, 0, 1]]
    if np.allclose(at[0], at[1], rtol=0, atol=1e-6):
        aside = (around[0] - center) * 1e-6
        for vertex, coordinates in zip(foci, (center - aside, center + aside), strict=True):
            for element, value in zip(vertex.findall(f"{GATING}coordinate"), coordinates, strict=True):
                element.set(f"{DATA_TYPE}value", repr(float(value)))


def _coordinates(vertex: Any) -> list[float]:
    return [float(c.get(f"{DATA_TYPE}value", "nan")) for c in vertex.findall(f"{GATING}coordinate")]
