"""Run a study in this machine: what is due, in order, as many at once as cores and memory allow."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellprec.engine.execute import execute
from cellprec.engine.manifest import write_manifest
from cellprec.engine.plan import Plan, Task, plan
from cellprec.engine.store import Receipt, RunFolder
from cellprec.errors import ResourceError
from cellprec.settings import Settings, settings
from cellprec.steps.catalogue import CATALOGUE
from cellprec.study.config import Study

try:
    import fcntl
except ImportError:  # not on Windows, where two runs at once are the user's own lookout
    fcntl = None  # type: ignore[assignment]


@dataclass
class Outcomes:
    """What became of every task of a run."""

    receipts: dict[Task, Receipt] = field(default_factory=dict)
    fresh: set[Task] = field(default_factory=set)

    @property
    def exit_code(self) -> int:
        """0 all well, 3 the user's input failed somewhere, 1 a bug."""
        states = {receipt.status for receipt in self.receipts.values()}
        return 1 if "crashed" in states else 3 if "failed" in states else 0


def run_study(
    study: Study,
    *,
    until: str | None = None,
    jobs: int | None = None,
    report: Callable[[Task, Receipt | None], None] | None = None,
) -> Outcomes:
    """Run every task of a study that is due, several at once, and write the manifest.

    Parameters
    ----------
    study
        From :func:`cellprec.study.load.load_study`.
    until
        Stop after this step.
    jobs
        How many tasks at once; by default the number of cores.
    report
        Called with ``(task, None)`` when a task starts and ``(task, receipt)`` when it ends.

    Raises
    ------
    ResourceError
        Another run is using the folder, or a worker was killed (mostly for want of memory).
    """
    todo = plan(study, until=until)
    run = RunFolder(study.results)
    jobs = jobs or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else jobs or os.cpu_count() or 1
    with _alone(run.path):
        run.sweep()
        forget_gone(run, study)
        outcomes = Outcomes()
        try:
            with _workers(jobs) as pool:
                _drain(todo, pool, jobs, outcomes, report or _silent)
        except BaseException:
            run.sweep()  # the workers are dead: what they were writing is of no use
            raise
        write_manifest(run, todo)
    return outcomes


def forget_gone(run: RunFolder, study: Study) -> None:
    """Drop the receipts of samples and steps that are no longer in the study, so that no report shows them."""
    wanted = {(task.step, task.sample) for task in plan(study).tasks()}
    run.forget((r.step, r.sample) for r in run.receipts() if (r.step, r.sample) not in wanted)


def _drain(
    todo: Plan, pool: ProcessPoolExecutor, jobs: int, outcomes: Outcomes, report: Callable[[Task, Receipt | None], None]
) -> None:
    waiting, running = todo.tasks(), dict[Future[Receipt], Task]()
    budget = _memory_gb()
    before = {task: RunFolder(todo.study.results).receipt(task.step, task.sample) for task in waiting}
    while waiting or running:
        for task in list(waiting):
            asked = sum(CATALOGUE[t.step].mem_gb for t in running.values()) + CATALOGUE[task.step].mem_gb
            if len(running) >= jobs or (running and asked > budget):
                break
            if all(above in outcomes.receipts for above in todo.upstream(task)):
                waiting.remove(task)
                report(task, None)
                running[pool.submit(_work, todo, task, settings)] = task
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            task = running.pop(future)
            try:
                receipt = future.result()
            except BrokenProcessPool as error:
                raise ResourceError(
                    "a worker was killed from outside",
                    where=f"{task.step} {task.sample}".strip(),
                    why="mostly this means the machine ran out of memory",
                    fix="Run again with --jobs 1: what is done is kept.",
                ) from error
            outcomes.receipts[task] = receipt
            if receipt != before[task]:
                outcomes.fresh.add(task)
            report(task, receipt)


def _silent(task: Task, receipt: Receipt | None) -> None:
    del task, receipt


def _work(todo: Plan, task: Task, chosen: Settings) -> Receipt:
    settings.__dict__.update(chosen.__dict__)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters to the user is a note; library chatter is not
        return execute(todo, task)


@contextmanager
def _workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that do not outlive us, not after Ctrl-C and not after ``kill -9``."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_follow_parent)
    try:
        with _without_main():
            yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        children = multiprocessing.active_children()
        for child in children:
            child.terminate()
        for child in children:
            child.join(5)
        raise
    pool.shutdown()


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep workers from importing the user's script: they need none of it, and it would start the run again."""
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {
        name: main.__dict__.pop(name) for name in ("__file__", "__spec__") if name in main.__dict__
    }
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(hidden)


def _follow_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _memory_gb() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError, AttributeError):
        return 8.0


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process; the lock goes with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ResourceError(
                    "another cellprec run is using this results folder",
                    where=folder,
                    fix="Wait for it to end, or give this study another `results:` folder.",
                ) from error
        yield
