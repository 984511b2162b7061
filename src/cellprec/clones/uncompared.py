"""Which arms and timepoints of a study no contrast speaks of, and why."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from cellprec import keys
from cellprec.clones.contrasts import NEGATIVE, Contrast, design
from cellprec.clones.table import LOW_DEPTH

EARLIER = "only the last timepoint shared with the control is compared; every_timepoint compares all"
SHALLOW = "all its libraries are of low depth"
NO_CONTROL = "the control has no library of sufficient depth at that timepoint"
NO_CONTROL_HERE = "the patient has no library of the control arm"
NO_ARM = "its libraries name no arm"
ONE_TIME = "there is one timepoint, and no control arm is set"
ONE_REPLICATE = "the control has one replicate, so that no half can be held against the other"
UNNUMBERED = "the replicates of the control are not numbered in the column replicate"

_COLUMNS = ("name", keys.PATIENT_ID, keys.ARM, keys.TIMEPOINT, "n", "kind", "reason", "silent")
_PLACE = [keys.PATIENT_ID, keys.ARM, keys.TIMEPOINT]


def uncompared(obs: pd.DataFrame, *, found: Sequence[Contrast], control_arm: str | None) -> pd.DataFrame:
    """List the arms and timepoints that no contrast speaks of, with the reason.

    Parameters
    ----------
    obs
        The design, as :func:`~cellprec.clones.contrasts.contrasts` takes it.
    found
        The contrasts that were made.
    control_arm
        The control arm they were made with.

    Returns
    -------
    DataFrame
        One row per patient, arm and timepoint: ``name`` for the reader, ``patient_id``, ``arm``, ``timepoint``, ``n``
        (libraries of sufficient depth), ``kind`` of the contrast that is missing, ``reason``, and ``silent``: whether
        the arm is compared at no timepoint at all. Negative controls that could not be made are rows of their own.

    Examples
    --------
    >>> obs = pd.DataFrame({"arm": ["A", "A", "B"], "timepoint": ["d1", "d7", "d7"]})
    >>> contrast = Contrast("A vs B at d7", "drug", {"arm": "A", "timepoint": "d7"}, {"arm": "B", "timepoint": "d7"})
    >>> uncompared(obs, found=[contrast], control_arm="B")[["name", "kind"]].to_numpy().tolist()
    [['A at d1', 'drug'], ['B at d7', 'negative control']]
    """
    everything = design(obs, deep_only=False)
    deep = obs.index.isin(design(obs).index) if obs.index.is_unique else ~_low(obs)
    everything["deep"] = pd.Series(deep, index=obs.index).loc[everything.index].to_numpy()
    real = [contrast for contrast in found if contrast.kind != NEGATIVE]
    treated = _covered(everything, [contrast.treated for contrast in real])
    against = _covered(everything, [contrast.control for contrast in real])
    halved = _covered(everything, [contrast.treated for contrast in found if contrast.kind == NEGATIVE])
    control = everything[(everything[keys.ARM] == control_arm) & everything["deep"]]
    compared = set(everything.loc[treated | against, [keys.PATIENT_ID, keys.ARM]].itertuples(index=False, name=None))
    rows = []
    for place, own in everything.assign(treated=treated, against=against, halved=halved).groupby(_PLACE, sort=True):
        who, arm, time = (str(part) for part in place)
        n, where = int(own["deep"].sum()), (_name(who, arm, time), who, arm, time)
        if own["against"].any() and not own["halved"].any():
            rows.append((*where, n, NEGATIVE, ONE_REPLICATE if n < 2 else UNNUMBERED, False))
        if own["treated"].any() or own["against"].any() or (control_arm and arm == control_arm):
            continue
        reason = _reason(arm, time, n, control=control[control[keys.PATIENT_ID] == who], control_arm=control_arm)
        rows.append((*where, n, "drug" if control_arm else "time", reason, (who, arm) not in compared))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _reason(arm: str, time: str, n: int, *, control: pd.DataFrame, control_arm: str | None) -> str:
    if not n:
        return SHALLOW
    if control_arm is None:
        return ONE_TIME
    if not arm:
        return NO_ARM
    if control.empty:
        return NO_CONTROL_HERE
    return EARLIER if time in set(control[keys.TIMEPOINT]) else NO_CONTROL


def _covered(text: pd.DataFrame, selections: Sequence[dict[str, str | Sequence[str]]]) -> pd.Series:
    covered = pd.Series(False, index=text.index)
    for selection in selections:
        own = text["deep"].copy()
        for column, value in selection.items():
            if column in text:
                own &= text[column].isin([value] if isinstance(value, str) else list(value))
        covered |= own
    return covered


def _low(obs: pd.DataFrame) -> pd.Series:
    return obs[LOW_DEPTH].astype(bool) if LOW_DEPTH in obs else pd.Series(False, index=obs.index)


def _name(who: str, arm: str, time: str) -> str:
    said = " ".join(part for part in (who, arm or "no arm") if part)
    return f"{said} at {time}" if time else said
