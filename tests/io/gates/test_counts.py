"""Counts that FlowJo stored are held against ours in both directions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cellprec.errors import InputError
from cellprec.io.gates.counts import compare_counts
from cellprec.io.gates.flowkit import Gated


@pytest.mark.parametrize(
    ("ours", "stored", "far"),
    [(100, 100, False), (50, 100, False), (49, 100, True), (200, 100, False), (201, 100, True), (0, 19, False)],
)
def test_a_gate_of_less_than_half_or_more_than_twice_is_refused(ours: int, stored: int, far: bool) -> None:
    made = Gated()
    made.add(("T",), np.arange(1000) < ours, stored=stored)
    how = {"seen": 1000, "n_events": 1000, "gates": Path("a.wsp")}
    if far:
        with pytest.raises(InputError, match="far from as many"):
            compare_counts(made, strict=True, **how)
    else:
        compare_counts(made, strict=True, **how)
    assert [note.code for note in compare_counts(made, strict=False, **how)] == ["gates.counts"]
