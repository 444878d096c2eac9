"""The notebook runs from top to bottom in an empty folder, and prints and draws what is saved in it."""

import base64
import re
import time
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs pip install 'daytwo[docs]'")
nbclient = pytest.importorskip("nbclient", reason="needs pip install 'daytwo[docs]'")
pytest.importorskip("ipykernel", reason="needs pip install 'daytwo[docs]'")

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "adaptation_curve.ipynb"
LONGEST = 60.0  # seconds, on one busy core, with compiled code to be made


@pytest.fixture(scope="module")
def saved():
    """The notebook as it lies in the repository."""
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The notebook run anew, and in how many seconds."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    resources = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources)
    begun = time.perf_counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MPLBACKEND", raising=False)  # tests draw to no screen, notebooks into themselves
        client.execute()
    return notebook, time.perf_counter() - begun


def printed(notebook) -> list[str]:
    """What each cell that prints something prints."""
    texts = ["".join(one.text for one in cell.outputs if one.output_type == "stream") for cell in code_cells(notebook)]
    return [text for text in texts if text]


def code_cells(notebook) -> list:
    """The cells with code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(notebook) -> list[bytes]:
    """The pictures it draws."""
    found = [
        one.data["image/png"]
        for cell in code_cells(notebook)
        for one in cell.outputs
        if "image/png" in one.get("data", {})
    ]
    return [base64.b64decode(text) for text in found]


@pytest.mark.slow
def test_it_runs_from_top_to_bottom_within_a_minute(run):
    notebook, seconds = run
    assert seconds < LONGEST
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    assert not [one for cell in code_cells(notebook) for one in cell.outputs if one.output_type == "error"]


@pytest.mark.slow
def test_it_draws_one_picture(run):
    (picture,) = pictures(run[0])
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000


@pytest.mark.slow
def test_its_agent_learns_and_the_twin_does_not(run):
    text = "\n".join(printed(run[0]))
    curves = {
        name.strip(): [float(word) for word in numbers.split()]
        for name, numbers in re.findall(r"^([a-z][a-z ]+?)  +((?: ?-?\d\.\d\d ?)+)$", text, re.MULTILINE)
    }
    assert list(curves) == ["oracle", "reference learner", "your agent", "its amnesiac twin", "random"]
    assert {len(curve) for curve in curves.values()} == {10}  # and NaN would not have been found
    own, twin = curves["your agent"], curves["its amnesiac twin"]
    assert own[0] == twin[0] < 0.4 and own[-1] > 0.9 and max(twin) < 0.4


@pytest.mark.slow
def test_it_prints_what_is_saved_in_it(run, saved):
    assert printed(run[0]) == printed(saved)


def test_what_is_saved_in_it_can_be_shown(saved):
    assert len(pictures(saved)) == 1 and len(printed(saved)) == 5
    assert NOTEBOOK.stat().st_size < 200_000
    assert "make setup" in saved.cells[0].source
