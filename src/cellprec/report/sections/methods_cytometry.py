"""The paragraph about cytometry: only what was done, and in how many samples it could be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from cellprec import keys
from cellprec.report.sections import happened

if TYPE_CHECKING:
    from cellprec.report.section import RunFolder, Study

Used = Mapping[str, Any]
_SCALES: Final = {
    "logicle": "the logicle scale (Parks et al. 2006; Moore and Parks 2012)",
    "biexponential": "FlowJo's biexponential scale",
    "arcsinh": "the inverse hyperbolic sine with cofactors that stabilize the variance (Azad et al. 2016)",
}
_NO_CELLS: Final = {
    "fluorescence": "doublets (by area against height or width of the scatter) and debris",
    "mass": "doublets and debris (by DNA content), calibration beads and odd ion clouds",
}


def describe_cytometry(settings: Mapping[str, Used], run: RunFolder, study: Study) -> list[str]:  # noqa: ARG001
    """Return the sentences about what was done to the events of this run."""
    events, joint = settings.get("events"), settings.get("cytometry")
    cells = run.data("cytometry")
    known = set() if cells is None or keys.KIND not in cells.var else set(cells.var[keys.KIND].astype(str))
    kinds = [kind for kind in _NO_CELLS if kind in known] or list(_NO_CELLS)
    said = []
    if events is not None:
        said.append(_compensated(run, events, settings.get("compensation")))
        said += _set_aside(run, events, kinds)
    gates = run.table("cytometry.gates")
    if gates is not None and len(gates):
        said.append(
            f"Gates were placed by the data as the template {events['template']} says."
            if events and events.get("template")
            else "Manual gates were evaluated with FlowKit (White et al. 2021)."
        )
    if joint is not None:
        said.append(_scaled(joint, kinds))
        n_clusters = f" {joint['n_clusters']}" if joint.get("n_clusters") else ""
        said.append(
            f"Events of all samples were grouped into{n_clusters} clusters in two levels, many prototypes joined by "
            "agglomeration, in the manner of FlowSOM (Van Gassen et al. 2015). "
            + (
                "Events were named after the gated population they lie in, the innermost gate first."
                if happened.named_by_gates(run)
                else "Clusters were named by the signs of their markers"
                + (f" in {joint['populations']}." if joint.get("populations") else " in the built-in table.")
            )
        )
        said.append("Maps were made by UMAP (McInnes et al. 2018) of a random part of the events.")
    return said


def _compensated(run: RunFolder, events: Used, controls: Used | None) -> str:
    """Say how dyes were told apart: by whose matrix, or by unmixing."""
    if events.get("spillover"):
        return "Cytometry events were compensated with a spillover matrix given by the user."
    if controls is not None and controls.get("spectral"):
        how = {"ols": "ordinary", "weighted": "weighted", "nnls": "non-negative"}[str(controls.get("unmixing"))]
        text = f"Spectral events were unmixed by {how} least squares (Novo et al. 2013)"
        return f"{text} with the spectra of the study's single-stained controls."
    if controls is not None:
        text = "Cytometry events were compensated with a spillover matrix estimated from the study's single-stained"
        return f"{text} controls (Bagwell and Adams 1993; Roca et al. 2021)."
    total = happened.read(run, step="events")
    lacking = len(happened.samples_noted(run, "events.no_spillover", "events.identity_spillover"))
    where = happened.of(total - lacking, total) if lacking and total else ""
    text = "Cytometry events were compensated with the spillover matrix stored in each file"
    return f"{text} {where or 'where there was one'}."


def _set_aside(run: RunFolder, events: Used, kinds: list[str]) -> list[str]:
    """Say what was set aside, and what could not be told from the others in any sample."""
    checks = (
        ("margins", "events at the edge of a detector's range", ("events.no_range",)),
        (
            "acquisition",
            "events measured while rate or signal was disturbed (as in PeacoQC, Emmaneel et al. 2022)",
            ("events.no_acquisition_check",),
        ),
        ("doublets", "; ".join(_NO_CELLS[kind] for kind in kinds), ("events.no_doublet_check",)),
        (
            "dead",
            "dead cells (above the valley of a viability stain)",
            ("events.no_dead_check", "events.no_dead_valley"),
        ),
    )
    total = happened.read(run, step="events")
    done, untold = [], []
    for name, text, codes in checks:
        if not events.get(name):
            continue
        told = total - len(happened.samples_noted(run, *codes))
        if total and not told:
            untold.append(text.split(" (")[0])
        else:
            done.append(text + (f" (which could be told {happened.of(told, total)})" if told < total else ""))
    said = [f"Set aside were {_and(done)}." if done else "No events were set aside."]
    return said + ([f"In no sample could {_and(untold)} be told from the others."] if untold else [])


def _scaled(joint: Used, kinds: list[str]) -> str:
    if joint.get("cofactor"):
        return f"Intensities were transformed by the inverse hyperbolic sine with a cofactor of {joint['cofactor']}."
    scale = _SCALES[joint.get("scale") or "logicle"]
    each = {
        "fluorescence": f"fluorescence by {scale} with parameters estimated over the whole study",
        "mass": "mass channels by the inverse hyperbolic sine (cofactor 5)",
    }
    return f"Transformed were {_and([each[kind] for kind in kinds])}."


def _and(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{'; '.join(parts[:-1])}; and {parts[-1]}"
