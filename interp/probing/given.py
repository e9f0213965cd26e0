"""Whether labels, cells, model and activations of a probe belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp.errors import InputError
from interp.probing.table import MIN_DRAWS

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from interp.probing.settings import ProbeSettings
    from interp.probing.targets import Task
    from interp.scgpt.model import HookedScGPT


def labels_of(activations: Any, obs: pd.DataFrame | None, cells: AnnData | None) -> pd.DataFrame:
    """Return the labels of the captured cells.

    Raises
    ------
    InputError
        There are none.
    """
    if obs is None:
        obs = getattr(activations, "obs", None)
        if cells is not None:
            own = cells.obs.iloc[places_of(activations, cells)]
            obs = own if obs is None else pd.concat([obs, own.drop(columns=obs.columns, errors="ignore")], axis=1)
    if obs is None:
        msg = "activations given as arrays carry no labels; give obs= (or cells=), one row per cell"
        raise InputError(msg)
    return obs


def places_of(activations: Any, cells: AnnData) -> NDArray[np.int64]:
    """Return the row of `cells` for each captured cell.

    Raises
    ------
    InputError
        A captured cell is not among them.
    """
    names = getattr(activations, "cell_ids", None)
    if names is None:
        return np.arange(cells.n_obs)
    places = cells.obs_names.get_indexer(names)
    if (places < 0).any():
        lost = names[int(np.flatnonzero(places < 0)[0])]
        msg = f"{int((places < 0).sum()):,} captured cells are not in cells=, such as {lost!r}; give the captured panel"
        raise InputError(msg)
    return places


def check_given(
    activations: Any, obs: pd.DataFrame, cells: AnnData | None, model: HookedScGPT | None, settings: ProbeSettings
) -> None:
    """Refuse what does not fit together.

    Raises
    ------
    InputError
        Numbers of cells differ, there are too few draws, or a model comes without its cells and store.
    """
    for name in activations:
        n = len(activations[name])
        if n != len(obs):
            msg = f"{name} holds {n:,} cells, but there are {len(obs):,} rows of labels; give one row per cell"
            raise InputError(msg)
    if settings.draws < MIN_DRAWS:
        msg = f"{settings.draws} draws of the control task; a p needs {MIN_DRAWS} or more (or controls=False for none)"
        raise InputError(msg)
    if model is not None and (cells is None or not hasattr(activations, "attrs")):
        msg = "an untrained model needs the cells and a store of interp.capture, so that it gets the same tokens"
        raise InputError(msg)


def strata_of(obs: pd.DataFrame, task: Task, study: str) -> NDArray | None:
    """Study of each cell; None where there is no such column, or a donor stands in several."""
    if study not in obs:
        return None
    values = obs[study].astype(str).to_numpy(dtype=object)[task.rows]
    several = pd.Series(values).groupby(task.donor).nunique().max() > 1
    return None if several else values
