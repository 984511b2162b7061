"""No arm and timepoint of a study is passed over in silence."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprec.clones.contrasts import contrasts
from cellprec.clones.uncompared import EARLIER, NO_CONTROL, NO_CONTROL_HERE, ONE_TIME, SHALLOW, uncompared

PLACES = st.tuples(
    st.sampled_from(["P1", "P2", ""]),
    st.sampled_from(["A", "veh", ""]),
    st.sampled_from(["d1", "d7", ""]),
    st.booleans(),
)


def table(rows: list[tuple[str, str, str, bool]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["patient_id", "arm", "timepoint", "low_depth"]).rename(index="s{}".format)


@settings(max_examples=80, deadline=None)
@given(st.lists(PLACES, min_size=1, max_size=8), st.booleans())
def test_every_library_is_compared_or_listed_or_control_or_says_nothing(rows, with_control):
    obs = table(rows)
    control = "veh" if with_control and (obs["arm"] == "veh").any() else None
    found = contrasts(obs, control_arm=control)
    left = uncompared(obs, found=found, control_arm=control)
    listed = set(left.loc[left["kind"] != "negative control", ["patient_id", "arm", "timepoint"]].agg(tuple, axis=1))
    for who, arm, time, low in rows:
        sides = [side for contrast in found for side in (contrast.treated, contrast.control)]
        here = {"patient_id": who, "arm": arm, "timepoint": time}
        used = not low and any(all(here.get(column, "") == value for column, value in side.items()) for side in sides)
        told = (who, arm, time) in listed
        if not (who or arm or time) or (control and arm == control):
            assert not told
        elif not low:
            assert used != told


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("P1", "A", "d1", False), EARLIER),
        (("P1", "A", "d9", False), NO_CONTROL),
        (("P1", "A", "d1", True), SHALLOW),
        (("P2", "A", "d1", False), NO_CONTROL_HERE),
    ],
)
def test_the_reason_is_the_one_that_holds(row, reason):
    full = [("P1", arm, time, False) for arm, time in (("A", "d7"), ("veh", "d1"), ("veh", "d7"))]
    obs = table([*full, row])
    left = uncompared(obs, found=contrasts(obs, control_arm="veh"), control_arm="veh")
    own = left[left["kind"] == "drug"].iloc[0]
    assert (own["reason"], own["silent"]) == (reason, row[0] == "P2")


def test_without_a_control_one_timepoint_is_the_reason():
    obs = table([("P1", "A", "d1", False), ("P1", "A", "d7", False), ("P2", "A", "d1", False)])
    left = uncompared(obs, found=contrasts(obs, control_arm=None), control_arm=None)
    left = left[left["kind"] == "time"]
    assert left[["name", "reason"]].to_numpy().tolist() == [["P2 A at d1", ONE_TIME]]
