import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from interp.errors import InputError
from interp.figures import latent_manifold_3d

STAGES = ("HSC", "CLP", "NK", "naive B")


@pytest.fixture
def anchors(graph):
    rng = np.random.default_rng(0)
    stages = [stage for stage in STAGES for _ in range(4)] + [None]
    obs = pd.DataFrame({"stage": stages, "donor": "d1", "study": "s1"})
    obs["branch"] = [graph.branch(stage) if stage else "T" for stage in stages]
    return rng.standard_normal((len(obs), 5)), obs.astype(object).where(obs.notna(), None)


def test_anchors_stages_and_the_tree_are_drawn(anchors, graph):
    latents, obs = anchors
    ax = latent_manifold_3d(latents, obs, graph)
    names = {text.get_text().strip() for text in ax.texts}
    assert set(STAGES) <= names
    n_points = sum(len(line.get_data_3d()[0]) for line in ax.lines if line.get_linestyle() == "None")
    assert n_points == len(obs) + len(STAGES)
    edges = [line for line in ax.lines if line.get_linestyle() != "None"]
    assert len(edges) == 3  # CLP under HSC (MPP is passed over), NK under CLP, naive B under CLP


def test_the_note_states_what_the_axes_hold(graph):
    latents = np.zeros((8, 4))
    latents[:, :3] = np.random.default_rng(0).standard_normal((8, 3))
    obs = pd.DataFrame({"stage": ["HSC"] * 8, "branch": "stem and progenitor", "donor": "d", "study": "s"})
    ax = latent_manifold_3d(latents, obs, graph, directions=False)
    words = " ".join(text.get_text() for text in ax.figure.texts)
    assert "8 anchors, 1 stage; the three axes hold 100 % of the variance" in words


def test_two_dimensions_are_refused(anchors, graph):
    latents, obs = anchors
    with pytest.raises(InputError, match="at least three"):
        latent_manifold_3d(latents[:, :2], obs, graph)


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")
