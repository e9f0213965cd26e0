"""How large the main job is."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from interp.extraction.kinds import DEFAULT_KINDS, check_kinds

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class DiscoverSettings:
    """Sizes of the main job.

    Attributes
    ----------
    seed
        Of every split, sample, start and draw.
    n_splits
        Donor folds; every donor is tested once.
    attention_cells
        Training cells whose attention makes an operator (arXiv:2603.10261: 600).
    genes
        Most genes of the operator panel (arXiv:2603.10261: 1,200).
    draws, untrained_draws
        Draws of each random control, and untrained models; 99 for a publication.
    label_nulls, other_nulls
        Refits of the permuted stages, and of each other null family.
    gate_nulls
        Null draws behind each gate's pass rate.
    negative_draws
        Random stagings of the negative control.
    final_starts
        Starts of the exported fit.
    probe_cells, ablation_cells
        Cells on which every layer and head is probed (as many as make an operator), and on which heads are ablated, one
        after the other.
    probe_draws
        Draws of the probes' control task.
    kinds
        Kinds of operators among which each split chooses (`interp.extraction.kinds`); the untrained models and the
        random controls choose among as many of the same.
    """

    seed: int = 0
    n_splits: int = 3
    attention_cells: int = 600
    genes: int = 1200
    draws: int = 20
    untrained_draws: int = 20
    label_nulls: int = 199
    other_nulls: int = 99
    gate_nulls: int = 20
    negative_draws: int = 50
    final_starts: int = 5
    probe_cells: int = 600
    ablation_cells: int = 300
    probe_draws: int = 40
    kinds: tuple[str, ...] = DEFAULT_KINDS

    def __post_init__(self) -> None:
        """Check the kinds."""
        object.__setattr__(self, "kinds", check_kinds(self.kinds))


# The embedded run ends in minutes on two cores.
EMBEDDED = DiscoverSettings(attention_cells=300, genes=400, other_nulls=49)


@dataclass(frozen=True)
class ExtractSettings(DiscoverSettings):
    """Sizes of an extraction, beside those of the run it goes on from.

    Attributes
    ----------
    top_heads
        Heads whose operators are kept in every kind.
    latents
        Latent sizes that anchor adaptors are compared at (arXiv:2603.10261: 3, 6 and 10); cells and hybrids have the
        largest.
    topologies
        Weights of the anchor topology in hybrid adaptors.
    rank
        Rank of the surrogate whose factors are ablated (arXiv:2603.10261: 64).
    rotations
        Random bases that the factors are held against; p is then at least 1 / (1 + rotations).
    bootstraps
        Resamples of the donors behind the intervals of the gene attribution.
    """

    top_heads: int = 4
    latents: tuple[int, ...] = (3, 6, 10)
    topologies: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0)
    rank: int = 64
    rotations: int = 20
    bootstraps: int = 200

    @classmethod
    def of(cls, run: Mapping[str, Any], **own: Any) -> ExtractSettings:
        """Take the sizes of a run as `config.json` holds them, and own ones."""
        known = {item.name for item in fields(cls)}
        kept = {name: tuple(v) if isinstance(v, list) else v for name, v in run.items() if name in known}
        return cls(**{**kept, **own})
