"""``cp.run``: the same run from Jupyter."""

from __future__ import annotations

from pathlib import Path

from cellprec.engine.runner import run_study
from cellprec.engine.store import RunFolder
from cellprec.errors import CellprecError
from cellprec.study.load import load_study


def run(study: str | Path, *, until: str | None = None, jobs: int | None = None) -> RunFolder:
    """Run a study from Python and return its run folder, to read the artifacts and tables from.

    Parameters
    ----------
    study
        ``study.yaml``, or the folder it is in.
    until
        Stop after this step.
    jobs
        Tasks at once; all cores by default.

    Raises
    ------
    StudyError
        The study has problems; all are listed.
    CellprecError
        A step of scope study failed or crashed; samples that failed are left out, as on the command line.
    """
    found = load_study(study)
    outcomes = run_study(found, until=until, jobs=jobs)
    for task, receipt in outcomes.receipts.items():
        if receipt.error is not None and not task.sample:
            error = receipt.error
            raise CellprecError(error["what"], where=error["where"] or task.step, why=error["why"], fix=error["fix"])
    return RunFolder(found.results)
