"""Which tasks a study has, and what each waits for: the same for our runner and for Snakemake."""

from __future__ import annotations

from dataclasses import dataclass

from cellprec.errors import InputError, UsageError
from cellprec.steps.catalogue import CATALOGUE
from cellprec.steps.contract import Sample, Step
from cellprec.study.config import Study


@dataclass(frozen=True, order=True)
class Task:
    """One step on one sample, or on the whole study (``sample`` empty)."""

    step: str
    sample: str = ""


@dataclass(frozen=True)
class Plan:
    """The steps a study needs, in order, and the samples each runs on."""

    study: Study
    names: tuple[str, ...]

    @property
    def steps(self) -> list[Step]:
        """The steps, upstream first."""
        return [CATALOGUE[name] for name in self.names]

    def samples(self, step: Step) -> list[Sample]:
        """The files a per-sample step runs on."""
        return [s for s in self.study.samples if s.modality == step.modality] if step.scope == "sample" else []

    def tasks(self) -> list[Task]:
        """All tasks, upstream first."""
        tasks = []
        for step in self.steps:
            tasks += [Task(step.name, s.sample_id) for s in self.samples(step)] or [Task(step.name)]
        return tasks

    def upstream(self, task: Task) -> list[Task]:
        """The tasks that must have ended before this one."""
        here = {step.name: step for step in self.steps}
        found = []
        for need in CATALOGUE[task.step].needs:
            if need.name in here:
                found += [Task(need.name, s.sample_id) for s in self.samples(here[need.name])] or [Task(need.name)]
        return found

    def downstream(self, task: Task) -> list[Task]:
        """The tasks whose results rest on this one, in order."""
        stale = {task}
        found = []
        for later in self.tasks():
            if later not in stale and stale & set(self.upstream(later)):
                stale.add(later)
                found.append(later)
        return found


def plan(study: Study, *, until: str | None = None) -> Plan:
    """Choose the steps a study needs: those whose files or inputs it has.

    until: stop after this step (its own needs are kept).

    Raises
    ------
    UsageError
        ``until`` is no step, or not one this study needs.
    InputError
        The sheet names no file that any step could read.
    """
    modalities = {sample.modality for sample in study.samples}
    chosen: dict[str, Step] = {}
    for step in CATALOGUE.values():
        if step.patients and study.design.patients is None:
            continue
        if step.scope == "sample":
            wanted = step.modality in modalities and all(n.name in chosen for n in step.needs if not n.optional)
        else:
            needed = [need.name for need in step.needs if not need.optional]
            wanted = all(n in chosen for n in needed) and any(need.name in chosen for need in step.needs)
        if wanted:
            chosen[step.name] = step
    if not chosen:
        raise InputError("the study has no file that cellprec can read", where=study.path, fix="Fill samples.csv.")
    if until is not None:
        chosen = {name: chosen[name] for name in _needed(until, chosen)}
    return Plan(study, tuple(chosen))


def _needed(until: str, chosen: dict[str, Step]) -> list[str]:
    if until not in chosen:
        fix = f"Steps of this study: {', '.join(chosen)}."
        raise UsageError(f"{until!r} is not a step of this study", fix=fix)
    wanted = {until}
    for name in reversed(list(chosen)):
        if name in wanted:
            wanted |= {need.name for need in chosen[name].needs}
    return [name for name in chosen if name in wanted]
