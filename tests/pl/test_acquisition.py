from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from cellprec.errors import UsageError
from cellprec.pl.acquisition import acquisition
from cellprec.pl.style import GREY, OKABE_ITO


def bins(name: str, *, n: int = 10, bad: tuple[int, ...] = ()) -> pd.DataFrame:
    table = pd.DataFrame({"sample_id": name, "bin": np.arange(n), "events": 50, "flagged": 0, "rate": 100.0})
    table.loc[list(bad), "flagged"] = 50
    return table


def test_disturbed_bins_are_marked_where_they_were():
    ax = acquisition(pd.concat([bins("a", bad=(3, 4)), bins("b")]))
    picture = ax.images[0].get_array()
    marked = np.isclose(picture[..., :3], to_rgb(OKABE_ITO[3])).all(axis=-1)
    assert np.flatnonzero(marked[0])[[0, -1]].tolist() == [120, 199]
    assert marked[0].sum() == 80
    assert not marked[1].any()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]


def test_an_odd_rate_is_darker_and_no_clock_is_no_error():
    table = bins("a")
    table.loc[5, "rate"] = 400.0
    shades = acquisition(table).images[0].get_array()[0, 20::40, 3]
    assert np.argmax(shades) == 5
    assert np.ptp(np.delete(shades, 5)) == 0
    table["rate"] = np.nan
    assert np.allclose(acquisition(table).images[0].get_array()[..., :3], to_rgb(GREY))


def test_another_table_is_refused():
    with pytest.raises(UsageError, match="flagged"):
        acquisition(bins("a").drop(columns="flagged"))
