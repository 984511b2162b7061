"""Batches join in one latent space, learned from the counts by scVI."""

from __future__ import annotations

import logging
import random
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData as _AnnData
from scipy import sparse

from cellprec import keys
from cellprec.errors import InputError, ResourceError, UsageError
from cellprec.notes import add_note
from cellprec.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

_FEWEST_CELLS = 50
_BATCH_SIZE = 128
_CPU_VISITS = 250_000
_FEWEST_EPOCHS, _MOST_EPOCHS = 20, 400
_PATIENCE = 15


def scvi(
    adata: AnnData,
    *,
    batch_key: str = "sample_id",
    n_latent: int = 10,
    max_epochs: int | None = None,
    engine: Literal["scvi-tools"] = "scvi-tools",
    seed: int = 0,
) -> Any:
    """Give every cell a place in one space in which batches are comparable.

    A variational autoencoder (scVI) is trained on ``layers["counts"]`` of the highly variable genes (all genes where
    none were picked), told of each cell's batch (``obs[batch_key]``). Training stops early once the evidence lower
    bound of the held-out tenth of the cells has not improved for 15 epochs. ``max_epochs`` by default: on a GPU that of
    scvi-tools (400 up to 20,000 cells, then fewer); on a CPU as many as visit 250,000 cells in all, between 20 and
    400: 50 epochs for 5,000 cells, about a minute for 800 genes on one thread. The weight of the prior rises over
    the first half of the epochs. Cells without a count in the genes used are not trained on; they are placed where an
    empty cell falls, and a note says how many. Whatever differs between batches is taken for technical: where biology
    and batch coincide, it is lost.

    Writes ``obsm["X_scVI"]`` (cells × ``n_latent``, float32, the posterior means) and ``uns["scvi"]`` (engine, epochs,
    n_latent, n_genes, n_batches, device, elbo: the last of the held-out cells, seed). Returns the trained model. The
    device is that of ``cellprec.settings`` and so is the number of threads; the same seed on the same device gives the
    same space. Raises InputError where counts are not counts (naming the samples), a batch is missing or there are
    fewer than 50 cells with counts; ResourceError where a GPU is asked for and none is there; UsageError for an unknown
    engine.

    Source: Lopez et al. 2018 (Nat Methods 15:1053); scvi-tools, Gayoso et al. 2022 (Nat Biotechnol 40:163).

    >>> import anndata, numpy as np
    >>> adata = anndata.AnnData(np.full((2, 3), 0.5, dtype="float32"))
    >>> adata.obs["sample_id"] = "P01"
    >>> scvi(adata)
    Traceback (most recent call last):
    cellprec.errors.InputError: 6 values are not counts (first: 0.5)
    ...
    """
    if engine != "scvi-tools":
        raise UsageError(f"there is no engine {engine!r}", fix="the engine is scvi-tools")
    if n_latent < 1 or (max_epochs is not None and max_epochs < 1):
        raise UsageError(f"n_latent={n_latent}, max_epochs={max_epochs}", fix="both are 1 or more")
    cells = _cells(adata, batch_key=batch_key)
    full = np.asarray(cells.X.sum(axis=1)).ravel() > 0
    _enough(adata, n_full=int(full.sum()))
    device = _device(adata)
    epochs = max_epochs or _default_epochs(int(full.sum()), device=device)
    with _quiet(seed=seed):
        model = _train(cells[full].copy(), n_latent=n_latent, epochs=epochs, device=device)
        latent = model.get_latent_representation(_known(cells, full=full))
    if not np.isfinite(latent).all():
        raise InputError(
            "scVI did not converge: its space has gaps",
            why="cells without a place cannot be clustered",
            fix="try another seed, or look for cells with extreme counts",
        )
    adata.obsm[keys.X_SCVI] = np.asarray(latent, dtype=np.float32)
    history = model.history["elbo_validation"].to_numpy(dtype=float).ravel()
    adata.uns["scvi"] = {
        "engine": engine,
        "epochs": int(history.size),
        "n_latent": int(n_latent),
        "n_genes": int(cells.n_vars),
        "n_batches": int(cells.obs["batch"].nunique()),
        "device": device,
        "elbo": float(history[-1]),
        "seed": int(seed),
    }
    return model


def _default_epochs(n_cells: int, *, device: str) -> int:
    """Return how often training goes through all cells.

    >>> [_default_epochs(n, device="cpu") for n in (500, 5_000, 50_000)]
    [400, 50, 20]
    """
    # scvi-tools' own rule (get_max_epochs_heuristic) for a GPU: 8,000,000 cell visits
    visits = _CPU_VISITS if device == "cpu" else 8_000_000
    fewest = _FEWEST_EPOCHS if device == "cpu" else 1
    return int(np.clip(round(visits / n_cells), fewest, _MOST_EPOCHS))


def _cells(adata: AnnData, *, batch_key: str) -> AnnData:
    if batch_key not in adata.obs:
        raise InputError(
            f"cells have no column {batch_key!r}",
            where="obs",
            why="scVI must know which batch a cell comes from",
            fix=f"name one of: {', '.join(map(str, adata.obs.columns)) or 'none is there'}",
        )
    batch = adata.obs[batch_key]
    if batch.isna().any():
        raise InputError(f"{int(batch.isna().sum()):,} cells have no {batch_key}", where=f"obs[{batch_key!r}]")
    counts = sparse.csr_matrix(adata.layers.get(keys.COUNTS, adata.X))
    _refuse_non_counts(adata, counts=counts)
    if keys.HIGHLY_VARIABLE in adata.var:
        counts = counts[:, np.flatnonzero(adata.var[keys.HIGHLY_VARIABLE].to_numpy(dtype=bool))]
    frame = pd.DataFrame({"batch": pd.Categorical(batch.astype(str))}, index=adata.obs_names)
    return _AnnData(counts.astype(np.float32), obs=frame)


def _refuse_non_counts(adata: AnnData, *, counts: sparse.csr_matrix) -> None:
    values = counts.data
    bad = ~np.isfinite(values) | (values < 0) | (values != np.round(values))
    if not bad.any():
        return
    rows = np.unique(np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))[bad])
    names = adata.obs[keys.SAMPLE_ID].iloc[rows].astype(str).unique() if keys.SAMPLE_ID in adata.obs else ["?"]
    raise InputError(
        f"{int(bad.sum()):,} values are not counts (first: {values[bad][0]:g})",
        where=", ".join(f"sample {name}" for name in sorted(names)),
        why="scVI models molecule counts: whole numbers, none below zero",
        fix="give the raw (not normalized, not corrected) matrix of these samples",
    )


def _enough(adata: AnnData, *, n_full: int) -> None:
    if n_full < _FEWEST_CELLS:
        raise InputError(
            f"{n_full} cells have counts in the genes used, and scVI needs {_FEWEST_CELLS}",
            why="a network trained on a handful of cells learns those cells by heart",
            fix="cluster on X_pca instead",
        )
    if n_full < adata.n_obs:
        add_note(
            adata,
            "scvi.empty_cells",
            f"{adata.n_obs - n_full:,} cells have no count in the highly variable genes: they were not trained on, and "
            "their place in the joint space means nothing.",
            count=adata.n_obs - n_full,
        )


def _device(adata: AnnData) -> str:
    import torch  # noqa: PLC0415  seconds to load

    if settings.device == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if settings.device == "cuda":
        raise ResourceError(
            "a GPU is asked for (device: cuda) and torch sees none",
            where="settings.device",
            why="training would silently take many times longer",
            fix="set device to auto or cpu, or install the CUDA build of torch that matches the driver",
        )
    add_note(adata, "scvi.cpu", "No GPU was found; scVI was trained on the CPU, with fewer epochs than on a GPU.")
    return "cpu"


def _train(cells: AnnData, *, n_latent: int, epochs: int, device: str) -> Any:
    from scvi.model import SCVI  # noqa: PLC0415  seconds to load

    SCVI.setup_anndata(cells, batch_key="batch")
    model = SCVI(cells, n_latent=n_latent)
    model.train(
        max_epochs=epochs,
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        train_size=0.9,
        batch_size=_batch_size(int(np.ceil(0.9 * cells.n_obs))),
        early_stopping=True,
        early_stopping_patience=_PATIENCE,
        # before the prior has its full weight the bound may rise and fall
        early_stopping_warmup_epochs=epochs // 2,
        plan_kwargs={"n_epochs_kl_warmup": max(1, epochs // 2)},
        enable_progress_bar=False,
    )
    return model


def _batch_size(n_train: int) -> int:
    """Return a size near 128 whose last, partial batch has at least 3 cells: one cell alone has no variance.

    >>> _batch_size(1000), _batch_size(129)
    (128, 126)
    """
    return next(size for size in range(_BATCH_SIZE, 2, -1) if n_train % size not in (1, 2))


def _known(cells: AnnData, *, full: np.ndarray) -> AnnData:
    """Return all cells with batches the model was trained on, as a batch may hold empty cells alone."""
    trained = cells.obs["batch"][full].astype(str)
    batch = cells.obs["batch"].astype(str)
    held = cells.copy()
    held.obs["batch"] = pd.Categorical(batch.where(batch.isin(set(trained)), trained.iloc[0]))
    return held


@contextmanager
def _quiet(*, seed: int) -> Iterator[None]:
    """Seed everything scVI draws from, hush its chatter, and put all of it back afterwards."""
    import scvi as scvi_tools  # noqa: PLC0415  seconds to load
    import torch  # noqa: PLC0415

    loggers = [logging.getLogger(name) for name in ("scvi", "lightning", "lightning.pytorch", "pytorch_lightning")]
    loggers += [logging.getLogger("lightning.fabric"), logging.getLogger("lightning.fabric.utilities.seed")]
    levels = [logger.level for logger in loggers]
    threads, had_seed = torch.get_num_threads(), scvi_tools.settings.seed
    drawn, shuffled = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            torch.set_num_threads(settings.threads)
            scvi_tools.settings.seed = seed
            yield
        finally:
            scvi_tools.settings.seed = had_seed
            torch.set_num_threads(threads)
            np.random.set_state(drawn)  # noqa: NPY002
            random.setstate(shuffled)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
