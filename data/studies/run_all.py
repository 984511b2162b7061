"""Run the real studies, one line each, with what is known of each beside what was found: `make real`."""

from __future__ import annotations

import csv
import gzip
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
DATA = Path(os.environ.get("CELLPREC_DATA", HERE.parents[2] / "shared" / "data"))


def rows(study: str, table: str) -> list[dict[str, str]]:
    """The rows of a table of a study."""
    with (HERE / study / "results" / "tables" / f"{table}.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def carpall(study: str) -> tuple[bool, str]:
    """CAR transcript in the authors' CAR-T cells, and in unsorted cells outside the product."""
    import anndata  # noqa: PLC0415 - nothing heavy where the data are absent

    with gzip.open(DATA / "rna/carpall_2023/CARTcell_barcodes.tsv.gz", "rt") as handle:
        authors = {row["CellID"].replace("_", ":", 1) for row in csv.DictReader(handle, delimiter="\t")}
    work = HERE / study / "results" / "work" / "cells"
    seen = [anndata.read_h5ad(path, backed="r").obs for path in sorted(work.glob("*.h5ad"))]
    detected = {name: bool(value) for obs in seen for name, value in obs["car_detected"].items()}
    hits = sum(detected.get(name, False) for name in authors)
    clones = len({row["clone"] for row in rows(study, "clones.tests")})
    share = 100 * hits / len(authors)
    cells = sum(int(row["n_cells"]) for row in rows(study, "rna.samples"))
    text = f"{cells:,} cells; CAR transcript in {share:.1f} % of the authors' CAR-T cells (raw matrices: 70.7 %)"
    return cells == 11_728 and abs(share - 70.7) < 0.05, f"{text}; {clones:,} clonotypes compared"


def bartools(study: str) -> tuple[bool, str]:
    """The clones that the published rule finds under IBET in both replicates, and the null between DMSO replicates."""
    published = published_ibet()
    tests = rows(study, "clones.tests")
    found = {
        arm: {r["clone"] for r in tests if r["contrast"] == f"{arm} vs DMSO at TP5" and r["call"] == "enriched"}
        for arm in ("IBET gradual", "IBET high_dose")
    }
    halves = [r for r in rows(study, "clones.contrasts") if r["kind"] == "negative control"]
    false = sum(int(r["n_enriched"]) + int(r["n_depleted"]) for r in halves)
    each = ", ".join(f"{arm} {len(published & clones)}" for arm, clones in found.items())
    text = f"of {len(published)} clones that the rule of upstream finds under IBET, enriched: {each}"
    return published <= found["IBET gradual"] and false == 0, f"{text}; DMSO against DMSO: {false}"


def published_ibet() -> set[str]:
    """Clones at CPM >= 100, 8-fold over DMSO, in both replicates of IBET gradual at TP5: the rule of upstream."""
    folder = DATA / "barcodes" / "bartools_dose_escalation"
    with (folder / "dose_escalation_02_samplesheet.csv").open(newline="") as handle:
        run_of = {row["Sample"]: row["Run"] for row in csv.DictReader(handle)}
    with gzip.open(folder / "dose_escalation_02_counts.tsv.gz", "rt") as handle:
        table = csv.reader(handle, delimiter="\t")
        runs = [run_of[name.split("_S")[0]] for name in next(table)[1:]]
        counts: dict[str, Counter[str]] = {}
        for barcode, *cells in table:
            counts[barcode] = Counter()
            for run, cell in zip(runs, cells, strict=True):
                counts[barcode][run] += int(cell)
    totals: Counter[str] = Counter()
    for per_run in counts.values():
        totals.update(per_run)

    def cpm(barcode: str, run: str) -> float:
        return 1e6 * counts[barcode][run] / totals[run]

    def rises(barcode: str, replicate: str) -> bool:
        treated, control = cpm(barcode, f"IBET_gradual_{replicate}_TP5"), cpm(barcode, f"DMSO_{replicate}_TP5")
        return treated >= 100 and (treated + 10) / (control + 10) > 8

    return {barcode for barcode in counts if rises(barcode, "TR1") and rises(barcode, "TR2")}


def huimm(study: str) -> tuple[bool, str]:
    """The populations named by the sign table, against the manual gates."""
    import anndata  # noqa: PLC0415 - nothing heavy where the data are absent

    with gzip.open(DATA / "cytometry/huimm_pbmc_cytof/labels_half.csv.gz", "rt") as handle:
        truth = {f"pbmc:{r['event']}": r["label"].lower() for r in csv.DictReader(handle)}
    skipped = {"na", "unassigned"}
    named = anndata.read_h5ad(HERE / study / "results" / "data" / "cytometry.h5ad", backed="r").obs["population"]
    same = {"cd4 terminal effector": "cd4 terminal memory", "naive b": "naive b cells", "memory b": "memory b cells",
            "early nk": "early nks", "late nk": "late nks", "cd4-cd8- gd t": "cd4-cd8-gd t cells"}  # fmt: skip
    judged = {cell: same.get(label, label) for cell, label in truth.items() if label not in skipped}
    right = sum(str(named.get(cell)).lower() == label for cell, label in judged.items())
    accuracy = right / len(judged)
    return (
        accuracy > 0.7,
        f"{len(named):,} events; {100 * accuracy:.1f} % of the gated events named as gated (LDA, trained: 94.0 %)",
    )


def flowsom(study: str) -> tuple[bool, str]:
    """The events in each gate, against the published labels."""
    published = {"B cells": 2460, "CD8 T cells": 1407, "gd T cells": 1470, "NK cells": 312, "NK T cells": 535}
    counted = {row["name"]: int(row["count"]) for row in rows(study, "cytometry.gates")}
    exact = all(counted[name] == number for name, number in published.items())
    close = abs(counted["CD4 T cells"] - 7487) <= 5
    numbers = ", ".join(f"{name.removesuffix(' cells')} {counted[name]:,}" for name in (*published, "CD4 T cells"))
    return exact and close, f"gated populations {numbers}"


STUDIES: dict[str, Callable[[str], tuple[bool, str]]] = {
    "carpall_cart": carpall,
    "bartools_aml": bartools,
    "huimm_cytof": huimm,
    "flowsom_spleen": flowsom,
}


def main() -> int:
    """Run all; 0 if every study ended in a report with the known numbers, or the data are absent."""
    if not DATA.is_dir():
        print(f"The real data are not here ({DATA}): nothing to run.")
        return 0
    failed = 0
    for study, judge in STUDIES.items():
        started = time.monotonic()
        command = [sys.executable, "-m", "cellprec", "run", str(HERE / study)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - started
        if ended.returncode:
            failed += 1
            print(f"{study:<15} FAILED in {seconds:.0f} s: {ended.stderr.strip().splitlines()[-1:]}")
            continue
        good, text = judge(study)
        failed += not good
        print(f"{study:<15} {'ok' if good else 'DIFFERS'} in {seconds:.0f} s: {text}", flush=True)
        print(f"{'':<15} {HERE / study / 'results' / 'report.html'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
