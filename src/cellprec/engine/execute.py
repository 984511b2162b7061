"""One task from its inputs to its receipt: what every worker and every Snakemake job calls."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import sys
import time
import traceback
from functools import cache
from pathlib import Path
from typing import Any

import threadpoolctl

import cellprec
from cellprec import keys
from cellprec.engine.plan import Plan, Task
from cellprec.engine.plan import plan as make_plan
from cellprec.engine.store import Receipt, RunFolder, digest, digest_of, notes_of
from cellprec.errors import WAITS, CellprecError, InputError, StudyError
from cellprec.settings import settings
from cellprec.steps.catalogue import CATALOGUE
from cellprec.steps.contract import Result, Sample, Step

_TRACKED = ("anndata", "scanpy", "scvi-tools", "torch", "flowkit", "numpy", "scipy", "pandas", "scikit-learn",
            "statsmodels", "igraph", "umap-learn", "pynndescent", "numba", "dnaio", "matplotlib")  # fmt: skip


def execute(plan: Plan, task: Task) -> Receipt:
    """Run one task if it is due, and return its receipt.

    A task is due unless its receipt stands for the same inputs, settings, seed and version and all outputs are there.
    What the user's input breaks is a receipt of status ``failed``; what we broke is ``crashed``. Neither raises.
    """
    run = RunFolder(plan.study.results)
    started = time.monotonic()
    receipt = Receipt(task.step, task.sample, key="", status="crashed")
    before = run.receipt(task.step, task.sample)
    try:
        inputs = _inputs(plan, task)
        values = {name: _plain(value) for name, value in plan.study.settings[task.step].items()}
        key = _key(plan, task, run, inputs)
        if before is not None and run.is_current(before, key):
            run.receipt_path(task.step, task.sample).touch()  # a scheduler that looks at times sees it is up to date
            return before
        run.receipt_path(task.step, task.sample).unlink(missing_ok=True)  # from here on, nothing vouches for the files
        receipt = dataclasses.replace(receipt, key=key, inputs=inputs, settings=values)
        with threadpoolctl.threadpool_limits(settings.threads):
            outputs, notes = _perform(plan, task, run, inputs)
        receipt = dataclasses.replace(receipt, status="done", outputs=outputs, notes=notes)
    except CellprecError as error:
        receipt = dataclasses.replace(receipt, status="failed", error=_told(error), traceback=traceback.format_exc())
    except MemoryError as error:
        told = {"what": f"{task.step} ran out of memory", "where": task.sample, "why": str(error),
                "fix": "Run it on a machine with more memory, or with fewer jobs at once (--jobs 1)."}  # fmt: skip
        receipt = dataclasses.replace(receipt, status="crashed", error=told, traceback=traceback.format_exc())
    except Exception as error:
        told = {"what": f"{task.step} met a bug: {type(error).__name__}: {error}", "where": task.sample, "why": "",
                "fix": "Please report it with log.txt; the other results stand."}  # fmt: skip
        receipt = dataclasses.replace(receipt, status="crashed", error=told, traceback=traceback.format_exc())
    seconds = round(time.monotonic() - started, 3)
    receipt = dataclasses.replace(receipt, seconds=seconds, device=_device(task), packages=_packages())
    if before is None or before.outputs != receipt.outputs or receipt.status != "done":
        everything = make_plan(plan.study)
        run.forget((later.step, later.sample) for later in everything.downstream(task))
    run.write_receipt(receipt)
    return receipt


def _perform(
    plan: Plan, task: Task, run: RunFolder, inputs: dict[str, str]
) -> tuple[dict[str, str], list[dict[str, Any]]]:
    step = CATALOGUE[task.step]
    context: Any = _sample(plan, step, task) if step.scope == "sample" else plan.study.design
    if step.scope == "study" and not step.patients:
        context = dataclasses.replace(context, patients=None, outcomes=())
    needs = [_need(plan, run, step, need.name) for need in step.needs]
    given = step.run(context, *needs, **plan.study.settings[step.name])
    result = given if isinstance(given, Result) else Result(given)
    if set(result.tables) != set(step.tables):
        raise TypeError(f"step {step.name} promised the tables {sorted(step.tables)} and gave {sorted(result.tables)}")
    notes, outputs = [dataclasses.asdict(note) for note in result.notes], []
    if result.data is not None:
        _stamp(result.data, plan, task, inputs)
        notes = notes_of(result.data) + notes
        outputs.append(run.write_data(result.data, task.step, task.sample))
    outputs += [run.write_table(result.tables[thing], task.step, thing) for thing in step.tables]
    for name, write in result.files.items():
        with run.writing(run.path / name) as path:
            write(path)
        outputs.append(run.path / name)
    return {str(path.relative_to(run.path)): digest(path) for path in outputs}, notes


def _need(plan: Plan, run: RunFolder, step: Step, name: str) -> Any:
    upstream = next((s for s in plan.steps if s.name == name), None)
    need = next(n for n in step.needs if n.name == name)
    if upstream is not None and upstream.scope == "sample":
        samples = [s.sample_id for s in plan.samples(upstream)]
        artifacts = run.artifacts(name, samples)
        if artifacts or need.optional:
            return artifacts or None
        raise InputError(
            f"{WAITS} {name}, and none of the {len(samples)} files could be read",
            where=f"step {name}",
            fix="See the errors above.",
        )
    data = run.data(name) if upstream is not None else None
    # a sample that goes on without a matrix that could not be made would be compensated otherwise than was asked
    waits = step.scope == "sample" and upstream is not None
    if data is None and (waits or not need.optional):
        raise InputError(f"{WAITS} {name}", where=f"step {step.name}", fix=f"Mend {name} first.")
    return data


def _stamp(adata: Any, plan: Plan, task: Task, inputs: dict[str, str]) -> None:
    """Write into the data what made it; seconds stay in the receipt, so that equal runs give equal files."""
    held = dict(adata.uns.get(keys.UNS, {}))
    steps = json.loads(held.get(keys.STEPS, "[]"))
    steps.append(
        {
            "step": task.step,
            "settings": {name: _plain(value) for name, value in plan.study.settings[task.step].items()},
            "seed": plan.study.seed,
            "inputs": sorted(inputs.values()),
            "device": _device(task),
            "version": cellprec.__version__,
        }
    )
    held |= {"schema_version": keys.SCHEMA_VERSION, keys.STEPS: json.dumps(steps)}
    adata.uns[keys.UNS] = held


def _sample(plan: Plan, step: Step, task: Task) -> Sample:
    return next(s for s in plan.samples(step) if s.sample_id == task.sample)


def _inputs(plan: Plan, task: Task) -> dict[str, str]:
    """The user's files a task reads, by what they are to it and their name, with their digests."""
    step = CATALOGUE[task.step]
    paths = {k: v for k, v in plan.study.settings[task.step].items() if step.settings[k].is_path and v is not None}
    if step.scope == "sample":
        sample = _sample(plan, step, task)
        # the matrix of an mtx folder is read with the genes and barcodes beside it
        paths["file"] = sample.path.parent if sample.path.name.startswith("matrix.mtx") else sample.path
        if sample.gates is not None:
            paths["gates"] = sample.gates
    for role, path in paths.items():
        if not path.exists():
            fix = "Check the path in samples.csv, or in the settings."
            raise InputError(f"there is no file {path.name}", where=f"{task.sample} {role}".strip(), fix=fix)
    return {f"{role}: {path.name}": digest(path) for role, path in paths.items()}


def _key(plan: Plan, task: Task, run: RunFolder, inputs: dict[str, str]) -> str:
    """What the outputs depend on: code, settings, seed, files, the rows of the sheets the step may see, upstream."""
    step, design = CATALOGUE[task.step], plan.study.design
    if step.scope == "sample":
        sheet: Any = dict(_sample(plan, step, task).sheet)
    else:
        sheet = [design.name, design.timepoints, design.samples.to_csv(index=False)]
        if step.patients:
            rules = [[o.name, o.column, o.positive, o.at_least] for o in design.outcomes]
            sheet += [design.patients.to_csv() if design.patients is not None else "", rules, design.covariates]
    upstream = []
    for above in plan.upstream(task):
        receipt = run.receipt(above.step, above.sample)
        made = receipt.outputs if receipt and receipt.status == "done" else "missing"
        upstream.append([above.step, above.sample, made])
    knobs = {k: v for k, v in plan.study.settings[task.step].items() if not step.settings[k].is_path}
    return digest_of([code_version(), task.step, task.sample, plan.study.seed, knobs, inputs, sheet, upstream])


@cache
def code_version() -> str:
    """The version and a digest of the source, so that a checkout that was edited does not reuse what it made before."""
    root = Path(cellprec.__file__).parent
    sources = [
        p
        for p in sorted(root.rglob("*.py"))
        if not {"cli", "report", "engine", "simulate", "pl"} & {*p.relative_to(root).parts}
    ]
    return f"{cellprec.__version__}+{digest_of([digest(path) for path in sources])[:12]}"


def _told(error: CellprecError) -> dict[str, str]:
    why = error.why
    if isinstance(error, StudyError):
        each = [f"{p.where}: {p.what}. {p.fix}".removeprefix(": ").strip() for p in error.problems]
        why = "\n".join(each)
    return {"what": error.what, "where": error.where, "why": why, "fix": error.fix}


def _plain(value: Any) -> Any:
    return value.name if isinstance(value, Path) else value


def _device(task: Task) -> str:
    torch = sys.modules.get("torch")
    uses = CATALOGUE[task.step].gpu == "if available" and settings.device != "cpu"
    return "cuda" if uses and torch is not None and torch.cuda.is_available() else "cpu"


@cache
def _packages() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _TRACKED}
