"""An edge at the end of a scale holds all that FlowJo piles up there."""

from __future__ import annotations

import pytest
from lxml import etree

from cellprec.io.gates.flowkit import GATING, TRANSFORMS
from cellprec.io.gates.shapes import _open_ends


@pytest.mark.parametrize(
    ("least", "most", "left"),
    [("-1e9", "1000", {"max"}), ("10", "300000", {"min"}), ("10", "200000", {"min", "max"}), ("-1e9", "1e9", set())],
)
def test_edges_at_the_ends_of_a_biexponential_scale_are_open(least: str, most: str, left: set[str]) -> None:
    scale = etree.Element(f"{TRANSFORMS}biex")
    for name, value in {"neg": "0", "width": "-100", "pos": "4.418540", "maxRange": "262144.000029"}.items():
        scale.set(f"{TRANSFORMS}{name}", value)
    dimension = etree.Element(f"{GATING}dimension")
    dimension.set(f"{GATING}min", least)
    dimension.set(f"{GATING}max", most)
    _open_ends(dimension, scale)
    assert {etree.QName(name).localname for name in dimension.attrib} == left
