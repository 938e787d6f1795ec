"""Every notebook in JupyterLab, in a real browser: widgets that answer, outputs that fit, pictures to look at.

Where there are widgets or a display that changes as the cells run, Run All executes a copy with short parameters; the
other notebooks are opened as the tests have executed them. Asked for by `-m browser`, screenshots of what was seen, in
both themes and at the widths of a laptop and a projector, are left in build/browser/.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from types import SimpleNamespace

import nbformat
import pytest
from expectations import SMALL

from helpers import run

pytestmark = pytest.mark.browser
NAMES = run.course_map()
# what `make test` looks at: each of the others is much like one of these, and `make test-all` looks at all
QUICK = ("01_round_to_fewer_bits", "05_measure_memory", "02_build_nf4", "10_judge_the_claims", "11_make_it_fast")
LIVE = ("01_round_to_fewer_bits", "05_measure_memory", "08_finetune_with_qlora")  # widgets, or a display that changes
BRIEF = {"MODEL_ID": "mini", "MAX_STEPS": 4, "HELD_OUT": 12}  # wherever a notebook has the parameter
WIDTHS = {1280: True, 1024: False}  # a laptop with the list of files open; a projector, where one closes it
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
PICTURES = run.ROOT / "build" / "browser"
# the code cells as JupyterLab keeps them, whether or not they are on the screen
CELLS = """() => [...jupyterapp.shell.currentWidget.content.model.cells].filter(cell => cell.type == "code")
    .map(cell => ({count: cell.executionCount, outputs: cell.outputs.toJSON()}))"""
# what reaches beyond its place, and sliders that have no room to slide
MISFITS = """() => {
    const places = [...document.querySelectorAll(".jp-OutputArea-output, .jp-MarkdownOutput")];
    const right = node => node.getBoundingClientRect().right;
    const beyond = place => [...place.querySelectorAll("*")].find(part => right(part) > right(place) + 2);
    const wide = places.map(place => [place, beyond(place)]).filter(([place, part]) => part);
    const tracks = [...document.querySelectorAll(".noUi-target")].filter(track => track.clientWidth < 100);
    const said = ([place, part]) => `${right(part) - right(place)} px too wide: ${part.outerHTML.slice(0, 120)}`;
    return [...wide.map(said), ...tracks.map(track => `a slider of ${track.clientWidth} px`)];
}"""
TOP = "() => (document.querySelector('.jp-NotebookPanel .jp-WindowedPanel-outer').scrollTop = 0)"
HEIGHT = "() => document.querySelector('.jp-NotebookPanel .jp-WindowedPanel-outer').scrollHeight"
THEME = "theme => jupyterapp.commands.execute('apputils:change-theme', {theme})"
BROKEN = [
    "import warnings\nimport ipywidgets as widgets\nfrom IPython.display import HTML",
    "warnings.warn('out of date')",
    "HTML('<table style=\"width: 3000px\"><tr><td>wide</td></tr></table>')",
    "widgets.VBox([widgets.IntSlider(), widgets.HTML('deaf')])",
    "widgets.HBox([widgets.IntSlider() for _ in range(2)], layout=widgets.Layout(width='250px'))",
    "1 / 0",
]


def shortened(name: str) -> nbformat.NotebookNode:
    """Return the notebook with Mini-Mistral and parameters that make it short."""
    notebook = nbformat.read(run.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    known = run.parameters_of(name, cell.source)
    changed = {**SMALL.get(name, {}), **{key: BRIEF[key] for key in BRIEF if key in known}}
    cell.source += "".join(f"\n{key} = {value!r}" for key, value in changed.items())
    return run.clean(notebook)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Serve the short notebooks by a JupyterLab of its own, and return its address."""
    home = tmp_path_factory.mktemp("lab")
    (home / "notebooks").mkdir()
    for name in NAMES:
        nbformat.write(shortened(name), home / "notebooks" / f"{name}.ipynb")
    cells = [nbformat.v4.new_code_cell(source) for source in BROKEN]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), home / "notebooks" / "broken.ipynb")
    settings = home / "settings" / "@jupyterlab"
    for plugin, value in {
        # every cell on the page, so that all can be looked at; and no question about news
        "notebook-extension/tracker": {"windowingMode": "none"},
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    }.items():
        (settings / plugin).parent.mkdir(parents=True, exist_ok=True)
        (settings / f"{plugin}.jupyterlab-settings").write_text(json.dumps(value))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", "--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"]
    command += [f"--ServerApp.root_dir={home / 'notebooks'}"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(run.ROOT), os.environ["PYTHONPATH"]]),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
    }
    environment.pop("MPLBACKEND", None)  # the notebook's own
    with open(home / "log", "w") as log:
        server = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            assert server.poll() is None, (home / "log").read_text()[-2000:]
            try:
                urllib.request.urlopen(f"{address}/api/status", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield SimpleNamespace(address=address, folder=home / "notebooks")
    finally:
        server.terminate()  # it ends its kernels
        server.wait(30)


def opened(browser, lab, name: str, with_kernel: bool = True):
    """Open a notebook in a fresh window and return the page, with its kernel ready if one is wanted."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    page.said = []
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.goto(f"{lab.address}/lab/tree/{name}.ipynb?reset")
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    page.wait_for_function("() => jupyterapp.shell.currentWidget?.context?.isReady")
    if with_kernel:
        page.wait_for_function(
            "() => jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status == 'idle'", timeout=90_000
        )
    return page


def run_all(page) -> list[dict]:
    """Choose Run, Run All Cells from the menu, wait for the end, and return the code cells."""
    page.click(".lm-MenuBar-itemLabel:text-is('Run')")
    page.click(".lm-Menu-itemLabel:text-is('Run All Cells')")
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        page.wait_for_timeout(500)
        cells = page.evaluate(CELLS)
        failed = [out for cell in cells for out in cell["outputs"] if out["output_type"] == "error"]
        if failed or all(cell["count"] for cell in cells):
            break
    page.wait_for_timeout(1000)  # what the last cell shows
    return page.evaluate(CELLS)


def panels(page) -> list:
    """Return the widgets that stand on the page by themselves."""
    found = page.query_selector_all(".jp-OutputArea-output .jupyter-widgets")
    return [part for part in found if not part.evaluate("node => node.parentElement.closest('.jupyter-widgets')")]


def answers(page, panel) -> bool:
    """Use one control of a panel as a hand does; say whether a picture or text in it changes, if it has a control."""

    def shown() -> str:
        return panel.evaluate(
            "node => [...node.querySelectorAll('img, .jp-OutputArea-output, .widget-html-content')]"
            ".map(part => part.src ?? part.innerHTML).join()"
        )

    before = shown()
    if slider := panel.query_selector(".noUi-handle"):
        slider.press("ArrowRight")
    elif choice := panel.query_selector("select"):
        choice.select_option(index=0 if choice.evaluate("node => node.selectedIndex") else 1)
    elif button := panel.query_selector("button"):
        button.click()
    else:
        return True
    for _ in range(40):
        page.wait_for_timeout(250)
        if shown() != before:
            return True
    return False


@pytest.fixture
def pictures(request) -> bool:
    """Whether to leave pictures: where somebody asks for the browser (`-m browser`), or for every test."""
    return request.config.option.markexpr in ("", "browser")


def misfits(page, name: str, pictures: bool) -> list[str]:
    """Return what does not fit, for each width; with `pictures`, the whole notebook in each width and theme."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    found = []
    for width, files in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": 900})
        if not files:
            page.keyboard.press("Control+b")
        page.wait_for_timeout(300)
        found += [f"at {width} px: {misfit}" for misfit in page.evaluate(MISFITS)]
        if not pictures:
            continue
        page.set_viewport_size({"width": width, "height": min(16_000, page.evaluate(HEIGHT) + 150)})
        for label, theme in THEMES.items():
            page.evaluate(THEME, theme)
            page.wait_for_selector("#jupyterlab-splash", state="detached")
            page.evaluate(TOP)
            page.wait_for_timeout(200)
            page.screenshot(path=PICTURES / f"{name}-{width}-{label}.png")
    return found


def looked_at(page, name: str, cells: list[dict]) -> list[dict]:
    """Hold what stands on the page to what holds for every notebook, and return the outputs that are widgets."""
    outputs = [output for cell in cells for output in cell["outputs"]]
    for output in outputs:
        assert output["output_type"] != "error", f"{output['ename']}: {output['evalue']}"
        assert output.get("name") != "stderr", output["text"]
    assert [cell["count"] for cell in cells] == list(range(1, len(cells) + 1))
    views = [output for output in outputs if run.WIDGET_VIEW in output.get("data", {})]
    assert len(panels(page)) == len(views), f"{len(views)} widgets are shown and {len(panels(page))} appear"
    return views


def closed(page) -> None:
    assert not page.said, page.said
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.context.close()


def those(names, quick):
    """Names as parameters, those slow that are not among the quick."""
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", those(NAMES, set(LIVE) & set(QUICK)))
def test_a_notebook_run_in_jupyterlab(browser, lab, pictures, name):
    page = opened(browser, lab, name)
    looked_at(page, name, run_all(page))
    for panel in panels(page):
        panel.scroll_into_view_if_needed()
        assert min(panel.bounding_box()[side] for side in ("width", "height")) > 20
        assert answers(page, panel), f"a control was used and nothing changed: {panel.inner_text()[:100]}"
    assert not (found := misfits(page, name, pictures)), "\n".join(found)
    closed(page)


@pytest.mark.parametrize("name", those([name for name in NAMES if name not in LIVE], QUICK))
def test_a_notebook_read_in_jupyterlab(browser, lab, executed, pictures, name):
    kept = executed(name).kept
    shutil.copy(kept, lab.folder)
    page = opened(browser, lab, name, with_kernel=False)
    cells = page.evaluate(CELLS)
    assert not looked_at(page, name, cells)
    pictures = [out for cell in cells for out in cell["outputs"] if "image/png" in out.get("data", {})]
    page.wait_for_function("n => document.querySelectorAll('.jp-OutputArea-output img').length == n", arg=len(pictures))
    assert not (found := misfits(page, name, pictures)), "\n".join(found)
    closed(page)


def test_whatever_has_a_widget_is_run_in_the_browser(executed):
    """In any other notebook a widget would be dropped from the copy that is read, and nobody would try it.

    Guesses are in most notebooks and all alike: those of `LIVE` are clicked for all.
    """
    for name in NAMES:
        outputs = [out.get("data", {}) for cell in executed(name).cells for out in cell.get("outputs", [])]
        views = [data for data in outputs if run.WIDGET_VIEW in data]
        guesses = [data for data in views if data["text/plain"].startswith("Guess: ")]
        assert name in LIVE or views == guesses, name
        assert guesses or name not in {"01_round_to_fewer_bits", "08_finetune_with_qlora"}


def test_what_is_broken_is_seen(browser, lab):
    page = opened(browser, lab, "broken")
    cells = run_all(page)
    assert [output["output_type"] for output in cells[1]["outputs"]] == ["stream"]
    assert cells[1]["outputs"][0]["name"] == "stderr"
    deaf, squeezed = panels(page)
    assert not answers(page, deaf)
    found = page.evaluate(MISFITS)
    assert sum("too wide: <table" in misfit for misfit in found) == 1
    assert sum("a slider of" in misfit for misfit in found) == 2
    assert cells[-1]["outputs"][0]["ename"] == "ZeroDivisionError"
    page.context.close()
