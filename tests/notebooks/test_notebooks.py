"""Each notebook runs from top to bottom over a lake that the flow wrote, and draws pictures with something in them."""

from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from pipeline.lake.lake import Lake
from pipeline.lake.rollups import refresh
from pipeline.run import Run, run
from tests.flow.traffic import fill, messages, traffic, write_fences
from tests.notebooks.run import NOTEBOOKS, run_notebook


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebooks")
    log = f"sqlite://{folder}/log.sqlite"
    fill(log, messages(traffic(seed=3), 4, seed=3), 4)
    run(Run(log, str(folder / "lake"), write_fences(folder / "fences.geojson"), until_end=True))
    refresh(Lake.open(str(folder / "lake")))
    return folder / "lake"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_draws(notebook: Path, lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that nothing was drawn into has hardly any colours."""
    monkeypatch.setenv("PARKPAL_LAKE", str(lake))
    pictures = run_notebook(notebook, lake, tmp_path)
    assert len(pictures) >= 3
    for picture in pictures:
        pixels = plt.imread(picture)[:, :, :3].reshape(-1, 3)
        assert len({tuple(pixel) for pixel in pixels[:: len(pixels) // 20_000]}) > 10, picture
