"""Gating templates: what is read, and everything that is wrong with one at once."""

from __future__ import annotations

import pytest

from cellprec.errors import FileFormatError, InputError, StudyError
from cellprec.io.template import read_template

GOOD = """
gates:
  - {name: Cells, channels: [FSC-A, SSC-A], method: ellipse, share: 0.9, near: [50000, 20000]}
  - {name: T, parent: Cells, channels: CD3, method: valley}
  - {name: CD4 T, parent: T, channels: [CD4, CD8], method: mindensity, side: [above, below]}
  - {name: Bright, parent: T, channels: CD3, method: quantile, quantile: 0.99}
  - {name: Dump, parent: T, channels: CD19, method: fixed, value: 1500, side: below}
"""


def test_a_template_is_read(tmp_path):
    path = tmp_path / "gates.yaml"
    path.write_text("\ufeff" + GOOD, encoding="utf-8")
    cells, t, cd4, bright, dump = read_template(path)
    assert (cells.share, cells.near, cells.parent) == (0.9, (50_000, 20_000), "")
    assert (t.channels, t.sides) == (("CD3",), ("above",))
    assert cd4.sides == ("above", "below")
    assert bright.quantile == 0.99
    assert dump.value == (1500,)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{name: A, channels: CD3, method: valey}", "method: input should be 'valley'"),
        ("{name: A, channels: CD3}", "method: field required"),
        ("{channels: CD3, method: valley}", "name: field required"),
        ("{name: A, channels: CD3, method: valley, sides: above}", "Did you mean 'side'?"),
        ("{name: A, channels: CD3, method: valley, parent: T}", "'T' is no gate above it"),
        ("{name: A, channels: CD3, method: quantile}", "quantile needs quantile"),
        ("{name: A, channels: CD3, method: quantile, quantile: 99}", "less than 1"),
        ("{name: A, channels: CD3, method: valley, quantile: 0.5}", "quantile means nothing to valley"),
        ("{name: A, channels: CD3, method: ellipse}", "an ellipse needs two channels"),
        ("{name: A, channels: [A, B], method: fixed, value: 3}", "1 values for 2 channels"),
        ("{name: A, channels: CD3, method: mindensity, between: [5, 1]}", "the lower first"),
        ("{name: A, channels: [A, B, C], method: valley}", "at most 2"),
        ("{name: A > B, channels: CD3, method: valley}", "cannot hold ' > '"),
        ("just text", "is no gate: 'just text'"),
    ],
)
def test_each_mistake_is_named(tmp_path, line, says):
    path = tmp_path / "gates.yaml"
    path.write_text(f"gates:\n  - {line}\n")
    with pytest.raises(StudyError, match=r"gates\.yaml") as caught:
        read_template(path)
    assert says.lower() in str(caught.value).lower()


def test_all_mistakes_are_told_at_once(tmp_path):
    path = tmp_path / "gates.yaml"
    path.write_text(GOOD.replace("valley", "vally").replace("quantile: 0.99", "quantil: 0.99") + "  - {name: Cells}\n")
    with pytest.raises(StudyError) as caught:
        read_template(path)
    told = str(caught.value)
    assert all(word in told for word in ("gate 2 (T)", "gate 4 (Bright)", "gate 6 (Cells)"))
    assert "is no gate above" not in told


@pytest.mark.parametrize(
    ("text", "error"),
    [(None, InputError), ("a: [", FileFormatError), ("gates: {}", FileFormatError), ("", FileFormatError)],
)
def test_what_is_no_template(tmp_path, text, error):
    path = tmp_path / "gates.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match="gating template"):
        read_template(path)


def test_a_point_near_means_nothing_to_a_quantile(tmp_path) -> None:
    file = tmp_path / "gates.yaml"
    gate = "{name: A, channels: [CD3, CD4], method: quantile, quantile: 0.5, near: [1, 2]}"
    file.write_text(f"gates:\n- {gate}\n")
    with pytest.raises(StudyError, match="near means nothing to quantile"):
        read_template(file)
