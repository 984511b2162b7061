"""A simulated CAR-T study: what is planted in it is known, and it lies on disk as a real one would."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from cellprec.io.export import write_fcs
from cellprec.simulate.cells import draw_cells, draw_library
from cellprec.simulate.cohort import (
    DECOY_LOG_ODDS,
    DECOY_POPULATION,
    ICANS_POPULATION,
    PLANTED_LOG_ODDS,
    POPULATIONS,
    RESPONDER_POPULATION,
    TIMEPOINTS,
    Cohort,
    draw_cohort,
    plasma,
)
from cellprec.simulate.contigs import contig_table, draw_repertoire
from cellprec.simulate.events import CHANNELS, MARKERS, RANGE, draw_tube, marker_signs, spillover
from cellprec.simulate.files import new_folder, write_10x, write_csv
from cellprec.simulate.genes import TRANSGENE, gene_groups

_STUDY: Final = """\
# A simulated CAR-T study: {n} lymphoma patients before and 14 days after infusion. What was planted is in truth.csv.
name: CAR-T in lymphoma (simulated)
seed: {seed}

samples: samples.csv        # one row per file
patients: patients.csv      # one row per patient: outcomes and clinical values, units in the headers
results: results

timepoints: [baseline, day14]
outcomes:                   # what to foretell
  response: {{column: response, positive: [CR, PR]}}
  severe_icans: {{column: icans_grade, at_least: 3}}
covariates: [age_years, tumor_burden_cm2, ferritin_ug_per_l]   # the clinical baseline that a biomarker has to beat
truth: truth.csv            # only a simulated study has one: the report compares found with planted

settings:
  cytometry: {{populations: populations.csv}}   # which population carries which marker
  cells: {{transgenes: [{transgene}]}}             # the CAR, as the reference genome names it
  rna: {{max_epochs: 30}}
"""


def simulate_cart(
    folder: Path | str, *, n_patients: int = 24, n_events: int = 3000, n_cells: int = 120, seed: int = 1
) -> Path:
    """Write a CAR-T study with known truth: flow cytometry, single-cell RNA, T-cell receptors, plasma, outcomes.

    Two populations are planted at baseline, each with log-odds +1.2: CD8 memory T cells in responders and classical
    monocytes in severe ICANS. NK cells are the decoy: staining batch 2 shows more of them and holds most responders,
    so they look associated with response and are not, within a batch. The RNA tubes hold the same blood without the
    staining artefact: the two planted populations, and signatures that they carry, echo there and are no false finds.
    Plasma values and everything on day 14 know nothing of the outcomes.

    Parameters
    ----------
    folder
        A new or empty folder.
    n_patients
        Half respond, 3 in 8 have severe ICANS.
    n_events
        Events per FCS file, doublets and margin events included.
    n_cells
        Cells per RNA tube, poor ones and doublets included.

    Returns
    -------
    Path
        ``study.yaml``. Beside it ``truth.csv`` (what was planted), ``truth_fractions.csv`` (cells of each population
        in each file, doublets and poor cells left out) and ``truth_clonotypes.csv`` (expanded T-cell clones).

    Raises
    ------
    UsageError
        If the folder holds something already, or fewer than 12 patients are asked for.

    Examples
    --------
    >>> import tempfile
    >>> study = simulate_cart(Path(tempfile.mkdtemp()) / "demo", n_patients=12, n_events=100, n_cells=20)
    >>> sorted(path.name for path in study.parent.iterdir())
    ['fcs', 'patients.csv', 'plasma.csv', 'populations.csv', 'rna', 'samples.csv', 'study.yaml', 'truth.csv',
     'truth_clonotypes.csv', 'truth_fractions.csv', 'vdj']
    """
    for_cohort, for_events, for_cells, for_plasma = (np.random.default_rng([seed, part]) for part in range(4))
    cohort = draw_cohort(n_patients, rng=for_cohort)
    with new_folder(folder) as root:
        stained = _write_tubes(root, cohort, n_events=n_events, rng=for_events)
        sequenced, clonotypes = _write_cells(root, cohort, n_cells=n_cells, rng=for_cells)
        write_csv(root / "plasma.csv", plasma(cohort, rng=for_plasma))
        write_csv(root / "samples.csv", _sheet(cohort))
        write_csv(root / "patients.csv", cohort.patients)
        write_csv(root / "populations.csv", marker_signs())
        write_csv(root / "truth.csv", _truth())
        write_csv(root / "truth_fractions.csv", pd.DataFrame(stained + sequenced))
        write_csv(root / "truth_clonotypes.csv", pd.DataFrame(clonotypes))
        text = _STUDY.format(n=n_patients, seed=seed, transgene=TRANSGENE)
        (root / "study.yaml").write_text(text, encoding="utf-8")
    return Path(folder).expanduser().absolute() / "study.yaml"


def _tubes(cohort: Cohort) -> list[tuple[str, str, str]]:
    """Return tube, patient and timepoint of every blood draw."""
    return [
        (f"{patient}_{timepoint}", patient, timepoint) for patient in cohort.batch.index for timepoint in TIMEPOINTS
    ]


def _write_tubes(root: Path, cohort: Cohort, *, n_events: int, rng: np.random.Generator) -> list[dict[str, object]]:
    (root / "fcs").mkdir()
    # batches differ a little in detector sensitivity, patients a little in staining
    batch_gain = {"B1": np.ones(len(MARKERS)), "B2": np.exp(rng.normal(0, 0.10, len(MARKERS)))}
    truth: list[dict[str, object]] = []
    for tube, patient, timepoint in _tubes(cohort):
        drawn = draw_tube(
            cohort.stained[timepoint].T[patient],
            n_events=n_events,
            car_share=cohort.car_share[patient] if timepoint == "day14" else 0.0,
            gain=batch_gain[cohort.batch[patient]] * np.exp(rng.normal(0, 0.05, len(MARKERS))),
            rng=rng,
        )
        write_fcs(
            root / "fcs" / f"{tube}.fcs",
            drawn.values,
            channels=CHANNELS,
            markers=[MARKERS.get(channel, "") for channel in CHANNELS],
            ranges=[RANGE] * len(CHANNELS),
            spillover=spillover().to_numpy(),
            keywords={"$CYT": "simulated cytometer", "$FIL": f"{tube}.fcs"},
        )
        truth += _fractions(tube, "cytometry", drawn.population[drawn.kind == "cell"])
    return truth


def _write_cells(
    root: Path, cohort: Cohort, *, n_cells: int, rng: np.random.Generator
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    (root / "rna").mkdir()
    (root / "vdj").mkdir()
    library = draw_library(rng=rng)
    genes = list(gene_groups().index)
    repertoires = {patient: draw_repertoire(rng=rng) for patient in cohort.batch.index}
    truth: list[dict[str, object]] = []
    for tube, patient, timepoint in _tubes(cohort):
        drawn = draw_cells(
            cohort.blood[timepoint].T[patient],
            library=library,
            n_cells=n_cells,
            car_share=cohort.car_share[patient] if timepoint == "day14" else 0.0,
            shifted=cohort.batch[patient] == "B2",
            repertoire=repertoires[patient],
            rng=rng,
        )
        write_10x(root / "rna" / f"{tube}.h5", drawn.counts, barcodes=drawn.barcodes, genes=genes)
        write_csv(root / "vdj" / f"{tube}_contigs.csv", contig_table(drawn.clones, rng=rng))
        kept = drawn.truth[drawn.truth["kind"] == "cell"]
        truth += _fractions(tube, "rna", kept["population"].to_numpy(), car=int(kept["car"].sum()))
    clonotypes: list[dict[str, object]] = [
        {"patient_id": patient, "tra_cdr3_nt": clone.tra.cdr3_nt, "trb_cdr3_nt": clone.trb.cdr3_nt}
        for patient, repertoire in repertoires.items()
        for clone in repertoire.expanded
    ]
    return truth, clonotypes


def _fractions(tube: str, modality: str, population: np.ndarray, *, car: int | None = None) -> list[dict[str, object]]:
    numbers = {name: int((population == name).sum()) for name in POPULATIONS}
    if car is not None:
        numbers["CAR-T"] = car
    return [
        {"sample_id": tube, "modality": modality, "population": name, "n": n, "fraction": n / max(len(population), 1)}
        for name, n in numbers.items()
    ]


def _sheet(cohort: Cohort) -> pd.DataFrame:
    paths = (("cytometry", "fcs/{}.fcs"), ("rna", "rna/{}.h5"), ("vdj", "vdj/{}_contigs.csv"))
    rows = [
        (tube, modality, path.format(tube), patient, timepoint, cohort.batch[patient])
        for modality, path in paths
        for tube, patient, timepoint in _tubes(cohort)
    ]
    rows.append(("plasma_baseline", "table", "plasma.csv", "", "baseline", ""))
    return pd.DataFrame(rows, columns=["sample_id", "modality", "path", "patient_id", "timepoint", "batch"])


def _truth() -> pd.DataFrame:
    """Return what was planted, named as the run names it; the effect is a difference of log-odds."""
    rows = [
        ("feature", "response", RESPONDER_POPULATION, PLANTED_LOG_ODDS),
        ("feature", "severe_icans", ICANS_POPULATION, PLANTED_LOG_ODDS),
        ("confounded", "response", DECOY_POPULATION, DECOY_LOG_ODDS),
    ]
    table = pd.DataFrame(rows, columns=["kind", "question", "name", "effect"])
    table["name"] = "cytometry:fraction:" + table["name"] + "@baseline"
    return table
