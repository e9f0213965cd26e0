"""Simulated atlases of hematopoiesis, or of worlds without it, whose truth is known."""

from interp.simulate.atlas import simulate
from interp.simulate.world import WORLD_SEED, WORLDS, World, make_world

__all__ = ["WORLDS", "WORLD_SEED", "World", "make_world", "simulate"]
