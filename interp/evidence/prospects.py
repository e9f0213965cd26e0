"""What a panel can show before it is collected: attainable p, power, detectable effect and donors needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.evidence.arms import CHOSEN
from interp.evidence.comparison import by_arm
from interp.evidence.controls import CONTROLS, N_DRAWS_QUICK
from interp.evidence.order import ORDER
from interp.evidence.verdict import ALPHA
from interp.stats import detectable_effect, donors_needed, sign_flip_power, smallest_sign_flip_p

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

# Sd of donor differences on the order endpoint, the median over controls of two runs that this project keeps:
# artifacts/runs/embedded and artifacts/runs/real-750. A panel of one's own will lie between them or beyond.
KNOWN_SDS = {"simulated atlas, 15 even donors": 0.056, "real cells, 7 uneven donors": 0.37}
COLUMNS = ("sd of", "sd", "donors", "smallest p", "power", "detectable effect", "donors needed")


def prospects(
    effect: float,
    donors: Sequence[int],
    sds: Mapping[str, float],
    *,
    n_draws: int = N_DRAWS_QUICK,
    n_endpoints: int = 1,
) -> pd.DataFrame:
    """Say what panels of several sizes can show.

    Parameters
    ----------
    effect
        The difference from the hardest control that one would not like to miss.
    donors
        Sizes of the panel.
    sds
        Standard deviation of the differences between donors, by where it comes from.
    n_draws
        Draws of each random control.
    n_endpoints
        Endpoints that are corrected together. Power is that of one which is alone in being better than its controls:
        the correction then asks for p < 0.05 / endpoints of it.

    Returns
    -------
    pandas.DataFrame
        sd of, sd, donors, smallest p (that donors and draws can reach), power (of the sign-flip test against one
        control, for `effect`), detectable effect (with 80 % power), donors needed (for `effect` with 80 % power);
        infinite where none will do.

    Raises
    ------
    InputError
        A number is out of its range.

    Examples
    --------
    >>> prospects(0.1, [4, 5], {"guess": 0.05})["smallest p"].tolist()
    [0.0625, 0.047619047619047616]
    """
    import pandas as pd

    for name, values in {"donors": donors, "draws": [n_draws], "endpoints": [n_endpoints]}.items():
        if not values or min(values) < 1:
            msg = f"{name}: {list(values)}; give numbers of at least 1."
            raise InputError(msg)
    if not effect > 0:
        msg = f"The effect is {effect}; give the difference that the model should make, above 0, such as 0.1."
        raise InputError(msg)
    alpha = ALPHA / n_endpoints
    enough = 1 / (1 + n_draws) < alpha
    rows = [
        (
            source, sd, n, max(smallest_sign_flip_p(n), 1 / (1 + n_draws)),
            sign_flip_power(effect, sd, n, alpha) if enough else 0.0,
            detectable_effect(sd, n, alpha=alpha) if enough else np.inf,
            donors_needed(effect, sd, alpha=alpha) if enough else np.inf,
        )
        for source, sd in sds.items()
        for n in donors
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def sds_of_run(run: Path, endpoint: str = ORDER) -> dict[str, float]:
    """Take the spread of donor differences from a finished run.

    Parameters
    ----------
    run
        Run folder of `discover`.
    endpoint
        Endpoint.

    Returns
    -------
    dict
        The median and the largest over the controls, by what they are.

    Raises
    ------
    InputError
        There is no ``controls.csv``, or fewer than two donors have the endpoint.
    """
    import pandas as pd

    path = run / "controls.csv"
    if not path.is_file():
        msg = f"{run} has no controls.csv; give the folder of a finished run of interp discover."
        raise InputError(msg)
    table = pd.read_csv(path)
    own = table[table["endpoint"] == endpoint]
    if not (own["control"] == CHOSEN).any():
        known = ", ".join(sorted(set(table["endpoint"]))) or "none"
        msg = f"{path} has no endpoint {endpoint!r}; it has {known}."
        raise InputError(msg)
    donors, arms, _ = by_arm(own)
    if len(donors) < 2:
        msg = f"{len(donors)} donors of {path} have the endpoint {endpoint!r} in every arm; a spread needs two."
        raise InputError(msg)
    spread = {
        name: float((arms[CHOSEN][0] - np.nanmean(draws, axis=0)).std(ddof=1))
        for name, draws in arms.items()
        if name in CONTROLS
    }
    widest = max(spread, key=lambda name: spread[name])
    return {
        f"{run.name}, median of {len(spread)} controls": float(np.median(list(spread.values()))),
        f"{run.name}, {widest}": spread[widest],
    }
