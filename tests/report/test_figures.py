from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from cellprec.pl.embedding import embedding
from cellprec.pl.interactive import embedding as interactive_embedding
from cellprec.pl.populations import fractions


def test_bars_map_and_plot_to_explore_give_a_population_one_color() -> None:
    names = ["T", "unassigned", "B", "NK"]
    shares = pd.DataFrame({"sample_id": "a", "population": names, "fraction": [0.1, 0.2, 0.3, 0.4]})
    cells = ad.AnnData(obs=pd.DataFrame({"population": pd.Categorical(["T", "unassigned", "NK"])}, index=list("abc")))
    cells.obsm["X_umap"] = np.eye(3)[:, :2]
    bars = {h.get_label(): to_hex(h.patches[0].get_facecolor()) for h in fractions(shares, names=names).containers}
    legend = embedding(cells, color="population", names=names).get_legend()
    still = {
        text.get_text(): to_hex(handle.get_facecolor()[0])
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
    }
    live = {line.name: line.marker.color.lower() for line in interactive_embedding(cells, names=names).data}
    assert len(set(bars.values())) == 4
    assert still == live == {name: bars[name] for name in ("T", "unassigned", "NK")}
