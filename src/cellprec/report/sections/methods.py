"""The methods paragraph, written from the settings and versions that were used, with the papers behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from cellprec.report.section import Section
from cellprec.report.sections import happened
from cellprec.report.sections.methods_cytometry import describe_cytometry
from cellprec.report.sections.references import REFERENCES
from cellprec.report.table import Column, make_table

if TYPE_CHECKING:
    from cellprec.report.section import RunFolder, Study

Used = Mapping[str, Any]
_LEAD = (
    "To be copied into a paper. It says what was done in this run, from the settings and package versions that were "
    "used; the same text is in methods.md."
)


def section(run: RunFolder, study: Study) -> Section | None:
    """Return the methods, one paragraph per stage that ran, and the list of papers.

    >>> from types import SimpleNamespace
    >>> section(SimpleNamespace(manifest=lambda: {"steps": []}), None) is None
    True
    """
    paragraphs = write(run, study)
    if not paragraphs:
        return None
    cited = references(paragraphs)
    frame = pd.DataFrame({"reference": cited})
    table = make_table(frame, columns=[Column("reference", "reference")], caption="References", top=len(frame))
    return Section("methods", "Methods", _LEAD, paragraphs=tuple(paragraphs), tables=(table,) if cited else ())


def as_markdown(run: RunFolder, study: Study) -> str:
    """Return the methods as a Markdown text."""
    paragraphs = write(run, study)
    cited = references(paragraphs)
    parts = ["# Methods", *paragraphs]
    if cited:
        parts += ["## References", "\n".join(f"- {text}" for text in cited)]
    return "\n\n".join(parts) + "\n"


def references(paragraphs: list[str]) -> list[str]:
    """Return the papers a text names, in alphabetical order.

    >>> references(["Clusters were found (Traag et al. 2019)."])[0][:9]
    'Traag VA,'
    """
    text = " ".join(paragraphs)
    return sorted(full for key, full in REFERENCES.items() if key in text)


def write(run: RunFolder, study: Study) -> list[str]:
    """Return one paragraph per stage that ended, in the order of the data."""
    manifest = run.manifest()
    settings: dict[str, Used] = {}
    for entry in manifest.get("steps", []):
        if entry["status"] == "done":
            settings.setdefault(entry["step"], entry.get("settings") or {})
    written = []
    for steps, describe in _STAGES:
        if any(step in settings for step in steps):
            sentences = describe(settings, run, study)
            written.append(" ".join(sentence for sentence in sentences if sentence))
    if written:
        packages = manifest.get("packages", {})
        versions = ", ".join(f"{name} {version}" for name, version in sorted(packages.items()))
        seed = manifest.get("study", {}).get("seed", 0)
        python = manifest.get("platform", {}).get("python", "")
        written.append(
            f"Analyses were run with cellprec {manifest.get('cellprec', '')} under Python {python}"
            + (f" with {versions}" if versions else "")
            + f"; random numbers were seeded with {seed}."
        )
    return written


def _rna(settings: Mapping[str, Used], run: RunFolder, study: Study) -> list[str]:  # noqa: ARG001
    cells, joint = settings.get("cells"), settings.get("rna")
    said = []
    if cells is not None:
        mito = cells.get("max_mito")
        limit = f"a mitochondrial fraction above {mito}" if mito else "an outlying mitochondrial fraction"
        floor = f"fewer than {cells['min_genes']} genes" if cells.get("min_genes") else "few genes"
        said.append(
            f"Cells with {floor}, {limit}, or outlying counts (by median absolute deviations within the sample) were "
            "set aside."
        )
        if cells.get("doublets"):
            said.append(_scrublet(run))
        if cells.get("transgenes"):
            said.append(f"The CAR transcript was counted as {', '.join(map(str, cells['transgenes']))}.")
    if joint is not None:
        genes = f"{joint['n_top_genes']:,} " if isinstance(joint.get("n_top_genes"), int) else ""
        said.append(f"Counts were normalized and {genes}variable genes chosen with Scanpy (Wolf et al. 2018).")
        if joint.get("integration", "scvi") != "scvi":
            said.append("Samples were not integrated; cells were compared by principal components.")
        elif not happened.joined_by_scvi(run):
            said.append(
                "There were too few cells to integrate the samples; cells were compared by principal components."
            )
        else:
            key, dimensions = joint.get("batch_key"), joint.get("n_latent")
            said.append(
                "Samples were joined by scVI (Lopez et al. 2018; Gayoso et al. 2022)"
                + (f" with {dimensions} latent dimensions" if dimensions else "")
                + (f", correcting for {key}." if key else ".")
            )
        resolution = f" (resolution {joint['resolution']})" if joint.get("resolution") is not None else ""
        said.append(
            f"Clusters were found with the Leiden algorithm{resolution} (Traag et al. 2019) and maps made by UMAP "
            "(McInnes et al. 2018). Signatures were scored against control genes of like expression "
            "(Tirosh et al. 2016)."
        )
    return said


def _scrublet(run: RunFolder) -> str:
    where = happened.cell_doublets(run)
    if where.startswith("in none"):
        return f"Doublets were set aside {where}."
    done = f", and set aside {where}" if where else ""
    return f"Doublets were found with Scrublet (Wolock et al. 2019), sample by sample{done}."


def _clones(settings: Mapping[str, Used], run: RunFolder, study: Study) -> list[str]:  # noqa: ARG001
    said = []
    reads = settings.get("reads")
    if reads is not None:
        flanks = " and ".join(str(reads[name]) for name in ("left", "right") if reads.get(name))
        mismatches = reads.get("max_mismatches")
        said.append(
            "Barcodes were taken from the reads"
            + (f" beside the constant sequence {flanks}" if flanks else "")
            + (f" with at most {mismatches} mismatches" if mismatches is not None else "")
            + (f" and the pattern {reads['pattern']}" if reads.get("pattern") else "")
            + "; rare sequences that a sequencing error of an abundant neighbor explains were merged into it."
        )
    if "contigs" in settings:
        said.append("Clonotypes were defined within a patient by the nucleotide CDR3 of their receptor chains.")
    clones = settings.get("clones")
    if clones is not None:
        said.append(
            "Diversity is given as Hill numbers (Chao et al. 2014) with the coverage of each sample "
            "(Chao and Jost 2012)."
        )
        said += _contrasts(clones, run.table("clones.contrasts"))
    return said


def _contrasts(clones: Used, contrasts: pd.DataFrame | None) -> list[str]:
    if contrasts is None or not len(contrasts):
        return []
    sampled = contrasts["kind"].astype(str).str.contains("sampling only")
    said = []
    if (~sampled).any():
        control = f" against {clones['control']}" if clones.get("control") else ""
        said.append(
            f"Clones were compared{control} with the replicate as the unit, on a scale that makes the variance even; "
            "the variance between replicates, drift at bottlenecks included, was estimated over clones and moderated "
            "by empirical Bayes (Smyth 2004)."
        )
    if sampled.any():
        said.append(
            "Where a patient has one sample per timepoint, clones were compared over time by Fisher's exact test on "
            "cells, which speaks of the draw of cells alone."
        )
    fold, alpha = clones.get("min_fold"), clones.get("alpha")
    called = f"; calls were made at a false discovery rate of {alpha}" if alpha is not None else ""
    least = f", for clones whose 95 % interval reaches a {fold}-fold change" if fold is not None else ""
    return [*said, f"P-values were corrected within each contrast (Benjamini and Hochberg 1995){called}{least}."]


def _biomarkers(settings: Mapping[str, Used], run: RunFolder, study: Study) -> list[str]:  # noqa: ARG001
    said = []
    if "patients" in settings:
        said.append(
            "Features were computed per patient and timepoint; population fractions entered as centered log-ratios "
            "(Aitchison 1982)."
        )
    chosen = settings.get("biomarkers")
    if chosen is not None:
        asked = ", ".join(outcome.name for outcome in study.design.outcomes)
        said.append(
            f"Features were tested for association with {asked or 'each outcome'} by the Mann–Whitney test (Mann and "
            "Whitney 1947) with the patient as the unit; effects are areas under the curve with 95 % intervals "
            "(Newcombe 2006); p-values were corrected over all features of an outcome (Benjamini and Hochberg 1995). "
            "Where batches are stated, each test was repeated within them (van Elteren 1960), and features that go "
            "with the outcome only through the batch are named as confounded."
        )
        said.append(
            "Prediction used ridge-penalized logistic regression under nested cross-validation, with "
            "selection, scaling and tuning inside the training folds"
            + (f", repeated {chosen['repeats']} times" if chosen.get("repeats") else "")
            + (f", a permutation test with {chosen['permutations']} full refits" if chosen.get("permutations") else "")
            + ", and a model of the clinical covariates alone beside it."
        )
    return said


Describe = Callable[[Mapping[str, Used], "RunFolder", "Study"], list[str]]
_STAGES: Final[tuple[tuple[tuple[str, ...], Describe], ...]] = (
    (("events", "cytometry"), describe_cytometry),
    (("cells", "rna"), _rna),
    (("reads", "counts", "contigs", "clones"), _clones),
    (("patients", "biomarkers"), _biomarkers),
)
