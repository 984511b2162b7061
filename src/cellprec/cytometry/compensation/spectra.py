"""The color of each dye, from single-stain controls, and how well the colors of a panel can be told apart."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans

from cellprec.cytometry.compensation.detectors import detector_names
from cellprec.cytometry.compensation.spectral_control import FEW, Events, Stain, read_control
from cellprec.errors import InputError, Problem, StudyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

# the row of autofluorescence; AF1, AF2 … where there are several
AUTOFLUORESCENCE: Final = "AF"
# cosine similarity from which two dyes should not be used together, and from which they cannot be
_ALIKE: Final = 0.98
_SAME: Final = 0.999
# distance of stained and unstained over twice the spread of the unstained (stain index) below which a control is dim
_DIM: Final = 5.0


@dataclass
class _Found:
    problems: list[Problem] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    controls: list[dict[str, Any]] = field(default_factory=list)

    def error(self, name: str, what: str, fix: str) -> None:
        self.problems.append(Problem("spectra.control", what, sample=name, fix=fix))

    def note(self, code: str, text: str, *, count: int | None = None, sample: str = "") -> None:
        self.notes.append({"code": code, "text": text, "count": count, "sample": sample})


def reference_spectra(
    controls: Mapping[str, AnnData], *, unstained: AnnData | None = None, autofluorescence: int = 1, seed: int = 0
) -> pd.DataFrame:
    """Read the spectrum of each dye from its single-stain control.

    controls: by name of the dye, beads or cells, events × channels as read; ``layers["raw"]`` where it is there; events
    that are not kept or lie at the end of a detector are left out. Each is compared with ``unstained`` where its
    stained events scatter like them, else with its own unstained events. unstained: cells without dye.
    autofluorescence: how many colors the unstained cells have (0: none is taken up); they become the rows ``AF`` or
    ``AF1``, ``AF2`` …, found by clustering with ``seed``.

    Returns dyes × detectors (fluorescence channels; of a channel with area, height and width the area), the highest
    value of each row 1: the slope of each detector on the dye, background taken off, of the brighter half of the
    stained events, weighted as photon noise asks for. ``attrs["controls"]`` holds a record per control (peak detector,
    events used, background, stain index), ``attrs["notes"]`` what the reader must know: dim controls, dyes
    that look alike, controls measured at other voltages.

    Raises StudyError with everything that is wrong at once: too few events, no stained events, nothing to compare
    with, other detectors than the others, two controls that show the same spectrum.
    Source: Novo, Grégori and Rajwa 2013, Cytometry A 83A:508; stain index: Maecker et al. 2004, Cytometry A 62A:169.

    >>> from cellprec.simulate.spectral import simulate_spectral
    >>> panel = simulate_spectral(n_dyes=3, n_detectors=16, n_events=9, n_control_events=400)
    >>> spectra = reference_spectra(panel.controls, unstained=panel.unstained)
    >>> list(spectra.index), bool(abs(spectra - panel.spectra).max().max() < 0.03)
    (['Dye01', 'Dye02', 'Dye03', 'AF'], True)
    """
    if not controls:
        raise InputError("no single-stain control was given", why="the spectra of the dyes are read from them")
    found = _Found()
    detectors = detector_names(next(iter(controls.values())) if unstained is None else unstained)
    tubes = dict(controls) if unstained is None else {"unstained": unstained, **controls}
    _judge_instrument(tubes, detectors=detectors, found=found)
    wrong = {problem.sample for problem in found.problems}
    blank = None
    if unstained is None:
        text = "no unstained sample was given: autofluorescence is no component of the unmixing"
        found.note("spectra.no_unstained", text)
    elif "unstained" not in wrong:
        blank = Events(unstained, detectors=detectors)
        if len(blank.values) < FEW:
            found.error("unstained", f"only {len(blank.values)} usable events", "measure more unstained events")
            blank = None
    rows = {}
    for name in [name for name in controls if name not in wrong]:
        sample = Events(controls[name], detectors=detectors)
        stain = read_control(sample, blank=blank)
        if stain.spectrum is None:
            found.error(name, stain.what, stain.fix)
            continue
        rows[name] = stain.spectrum
        peak = detectors[int(np.argmax(stain.spectrum))]
        _record(name, stain=stain, sample=sample, peak=peak, found=found)
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=detectors)
    if blank is not None and autofluorescence:
        frame = pd.concat([frame, _own_colors(blank, n=autofluorescence, detectors=detectors, seed=seed)])
    _judge_alike(frame, found=found)
    if found.problems:
        raise StudyError(found.problems, what="the controls do not give the spectra of the panel")
    frame.attrs = {"controls": found.controls, "notes": found.notes}
    return frame


def spectra_pairs(spectra: pd.DataFrame) -> pd.DataFrame:
    """Tell how alike each two dyes of a panel are and how much noise each brings into the other.

    Returns a row per pair of rows of ``spectra``: ``dye``, ``other``, ``cosine`` (1: the same spectrum), ``spread``
    (standard deviation that photon noise of 100 units of ``dye`` brings into ``other``, in units, for one photon a
    unit) and ``spread_back``, most alike first. ``attrs["condition"]``: the condition number of the panel, by which
    noise can be blown up at most.

    Source: error propagation through the pseudoinverse, as for compensation in Bagwell and Adams 1993, Ann N Y Acad
    Sci 677:167; spreading between detectors: Nguyen et al. 2013, Cytometry A 83A:306.

    >>> import pandas as pd
    >>> spectra = pd.DataFrame([[1, 0.5], [0.5, 1]], index=["FITC", "PE"], columns=["B1-A", "B2-A"])
    >>> spectra_pairs(spectra).round(3).values.tolist()
    [['FITC', 'PE', 0.8, 11.547, 11.547]]
    >>> spectra_pairs(spectra).attrs["condition"]
    3.0...
    """
    values = spectra.to_numpy(dtype=np.float64)
    length = np.linalg.norm(values, axis=1)
    cosine = values @ values.T / np.outer(length, length)
    inverse = np.linalg.pinv(values)
    spread = np.sqrt(100 * np.maximum(values, 0) @ inverse**2)
    one, other = np.triu_indices(len(values), k=1)
    table = pd.DataFrame(
        {
            "dye": spectra.index.to_numpy()[one],
            "other": spectra.index.to_numpy()[other],
            "cosine": cosine[one, other],
            "spread": spread[one, other],
            "spread_back": spread[other, one],
        }
    ).sort_values("cosine", ascending=False, ignore_index=True, kind="stable")
    table.attrs = {"condition": round(float(np.linalg.cond(values)), 9)}
    return table


def is_autofluorescence(name: str) -> bool:
    """Tell whether a row of the spectra is a color of unstained cells: ``AF``, or ``AF1``, ``AF2`` and so on.

    >>> [is_autofluorescence(name) for name in ("AF", "AF2", "AF488")]
    [True, True, False]
    """
    return re.fullmatch(rf"{AUTOFLUORESCENCE}\d{{0,2}}", name) is not None


def _judge_instrument(tubes: Mapping[str, AnnData], *, detectors: list[str], found: _Found) -> None:
    """Controls are only comparable where they were measured by the same detectors at the same voltages."""
    if not detectors:
        found.error(next(iter(tubes)), "no channel is a fluorescence detector", "give the raw files of the instrument")
    settings: dict[str, dict[str, str]] = {}
    for name, adata in tubes.items():
        here = detector_names(adata)
        if set(here) != set(detectors):
            apart = sorted(set(here) ^ set(detectors))
            what = f"measured by other detectors than {next(iter(tubes))}: {', '.join(apart[:5])}"
            found.error(name, what, "give controls of one instrument and one configuration")
        settings[name] = _voltages(adata)
    first = settings[next(iter(tubes))]
    for name, other in settings.items():
        changed = [channel for channel in detectors if first.get(channel, "") != other.get(channel, "")]
        if changed and first and other:
            text = f"the voltages or gains of {name} differ from those of the first control in {', '.join(changed[:5])}"
            found.note("spectra.voltages", text, count=len(changed), sample=name)


def _voltages(adata: AnnData) -> dict[str, str]:
    keywords = json.loads(adata.uns.get("fcs", {}).get("keywords", "{}"))
    names = {i: str(keywords.get(f"$P{i}N", "")).strip() for i in range(1, adata.n_vars + 1)}
    return {name: f"{keywords.get(f'$P{i}V', '')} {keywords.get(f'$P{i}G', '')}" for i, name in names.items() if name}


def _record(name: str, *, stain: Stain, sample: Events, peak: str, found: _Found) -> None:
    if stain.stain_index < _DIM:
        text = f"the control of {name} is dim (stain index {stain.stain_index:.1f}): its spectrum is uncertain"
        found.note("spectra.dim_control", text, sample=name)
    if sample.n_saturated:
        text = f"saturated events of the control of {name} were left out"
        found.note("spectra.saturated", text, count=sample.n_saturated, sample=name)
    found.controls.append(
        {
            "dye": name,
            "peak": peak,
            "n_stained": stain.stained,
            "n_unstained": stain.unstained,
            "n_saturated": sample.n_saturated,
            "background": stain.background,
            "stain_index": round(stain.stain_index, 2),
        }
    )


def _judge_alike(frame: pd.DataFrame, *, found: _Found) -> None:
    if len(frame) > frame.shape[1]:
        what = f"{len(frame)} spectra cannot be told apart by {frame.shape[1]} detectors"
        found.error("", what, "take fewer dyes, or a file with more detectors")
    if len(frame) < 2:
        return
    pairs = spectra_pairs(frame)
    for one, other, cosine in zip(pairs["dye"], pairs["other"], pairs["cosine"], strict=True):
        if is_autofluorescence(one) and is_autofluorescence(other):
            continue
        if cosine >= _SAME:
            what = f"{one} and {other} show the same spectrum (cosine {cosine:.4f})"
            found.error(other, what, "check whether one tube was measured or named twice; use one of the two dyes")
        elif cosine >= _ALIKE:
            text = f"{one} and {other} look nearly alike (cosine {cosine:.3f}): noise of one will show in the other"
            found.note("spectra.alike", text, sample=other)


def _own_colors(blank: Events, *, n: int, detectors: list[str], seed: int) -> pd.DataFrame:
    """The colors of unstained cells: groups of events of one direction, the largest first."""
    length = np.linalg.norm(blank.values, axis=1)
    bright = length >= np.quantile(length, 0.25) if n > 1 else length > 0
    values, length = blank.values[bright], length[bright]
    if n == 1:
        colors = [np.median(values, axis=0)]
    else:
        group = KMeans(n, n_init=10, random_state=seed).fit_predict(values / length[:, None], sample_weight=length)
        order = np.argsort(-np.bincount(group, minlength=n), kind="stable")
        colors = [np.median(values[group == k], axis=0) for k in order]
    names = [AUTOFLUORESCENCE] if n == 1 else [f"{AUTOFLUORESCENCE}{k + 1}" for k in range(n)]
    return pd.DataFrame([color / max(color.max(), 1e-300) for color in colors], index=names, columns=detectors)
