"""How strongly each cell shows a known programme of genes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

import numpy as np
import scanpy as sc

from cellprec.errors import UsageError
from cellprec.notes import add_note
from cellprec.rna.panel import require_normalized

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

PREFIX: Final = "signature_"
_FEWEST_GENES = 3

SIGNATURES: Final[dict[str, tuple[str, ...]]] = {
    "cytotoxic": ("GZMA", "GZMB", "GZMH", "GZMK", "PRF1", "GNLY", "NKG7", "CST7", "KLRD1", "FGFBP2"),
    "exhaustion": ("PDCD1", "CTLA4", "LAG3", "HAVCR2", "TIGIT", "TOX", "ENTPD1", "LAYN", "CXCL13", "BATF"),
    "naive_memory": ("CCR7", "SELL", "TCF7", "LEF1", "IL7R", "CD27", "CD28", "MAL"),
    "proliferation": ("MKI67", "TOP2A", "TYMS", "RRM2", "CDK1", "CCNB1", "BIRC5", "PCNA", "UBE2C", "CENPF"),
    "interferon": ("ISG15", "IFI6", "IFIT1", "IFIT3", "IFI44L", "MX1", "OAS1", "STAT1", "IRF7", "ISG20"),
}


def score_signatures(adata: AnnData, *, signatures: Mapping[str, Sequence[str]] | None = None, seed: int = 0) -> None:
    """Score every cell for programmes of genes: cytotoxic, exhausted, naive or memory, dividing, interferon.

    A score is the mean log-normalized expression of the programme's genes less that of control genes of like
    abundance, so 0 means "as expected by chance". Genes that the panel lacks are named in a note; a programme with
    fewer than 3 genes present is not scored and a note says "cannot tell". Scores compare cells within a study, not
    between studies.

    Built-in programmes, human: ``cytotoxic`` (Szabo et al. 2019, Nat Commun 10:4706), ``exhaustion`` (Zheng et al.
    2017, Cell 169:1342; Wherry and Kurachi 2015, Nat Rev Immunol 15:486), ``naive_memory`` (Sade-Feldman et al. 2018,
    Cell 175:998; Szabo et al. 2019), ``proliferation`` (Tirosh et al. 2016, Science 352:189), ``interferon`` (the
    hallmark of Liberzon et al. 2015, Cell Syst 1:417). ``signatures`` replaces them: name → genes.

    Writes ``obs["signature_<name>"]`` (float32). Raises InputError where X holds counts, UsageError where a name
    cannot be a column. Source of the score: Tirosh et al. 2016, as scanpy's ``score_genes``.

    >>> import anndata, numpy as np
    >>> from cellprec.notes import get_notes
    >>> adata = anndata.AnnData(np.full((4, 2), 0.5, dtype="float32"))
    >>> adata.var_names = ["GNLY", "PRF1"]
    >>> score_signatures(adata, signatures={"killer": ["GNLY", "PRF1"]})
    >>> get_notes(adata)[0].text
    'Signature killer: cannot tell, 2 of its 2 genes are in the panel and 3 are needed.'
    """
    require_normalized(adata, verb="score_signatures")
    chosen = SIGNATURES if signatures is None else signatures
    for name in chosen:
        if not name or "/" in name:
            raise UsageError(f"a signature cannot be named {name!r}", fix="use letters, digits and _; no slash")
    panel = set(adata.var_names)
    for name, genes in chosen.items():
        wanted = list(dict.fromkeys(genes))
        present = [gene for gene in wanted if gene in panel]
        if len(present) < _FEWEST_GENES:
            _cannot_tell(
                adata,
                name=name,
                why=f"{len(present)} of its {len(wanted)} genes are in the panel and {_FEWEST_GENES} are needed",
            )
            continue
        missing = [gene for gene in wanted if gene not in panel]
        if missing:
            add_note(
                adata,
                "rna.signature_genes_missing",
                f"Signature {name}: scored without {', '.join(missing)}, which the panel lacks.",
                count=len(missing),
            )
        _score(adata, name=name, genes=present, seed=seed)


def _score(adata: AnnData, *, name: str, genes: list[str], seed: int) -> None:
    drawn = np.random.get_state()  # noqa: NPY002  scanpy seeds the global generator; the caller's stays as it was
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            sc.tl.score_genes(adata, genes, ctrl_size=50, score_name=PREFIX + name, random_state=seed, use_raw=False)
        except RuntimeError:
            _cannot_tell(adata, name=name, why="the panel has no other genes of like abundance to compare with")
            return
        finally:
            np.random.set_state(drawn)  # noqa: NPY002
    adata.obs[PREFIX + name] = adata.obs[PREFIX + name].to_numpy(dtype=np.float32)


def _cannot_tell(adata: AnnData, *, name: str, why: str) -> None:
    add_note(adata, "rna.signature_cannot_tell", f"Signature {name}: cannot tell, {why}.")
