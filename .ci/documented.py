"""What MkDocs cannot know about this repository. mkdocs.yml names this file as a hook, and `ListedSections`.

The folders at the top level are packages under ``daytwo`` only by setup.cfg's ``package_dir``, so a tree of links in
the package's own shape is made for the API reference (``.cache/documented/``, ignored by git). The notebook becomes a
page, with the output that is saved in it. And pages link to files outside of docs/ as readers of the repository need
it: those that the site has as pages are linked there, others in the repository where mkdocs.yml has its address
(``repo_url``), and are plain text where it has none.
"""

import base64
import os
import re
import shutil
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import griffe
import nbformat
from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).resolve().parent))  # MkDocs runs hooks without their folder

from layout import ROOT, package_modules

TREE = ROOT / ".cache" / "documented"
NOTEBOOK = ROOT / "notebooks" / "adaptation_curve.ipynb"
# Files outside of docs/ that are pages of the site.
PAGES = {ROOT / "README.md": "index.md", NOTEBOOK: "notebook.md"}
# [text](../there), but no picture.
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(((?:\.\./)+[^)#\s]*)(#[^)\s]*)?\)")
# "Task:" and the indented lines below it.
SECTION = re.compile(r"^([A-Z][A-Za-z ]*):\n((?: {4}.*\n?|\n(?= {4}))+)", re.MULTILINE)
GOOGLE_SECTIONS = {"Args", "Attributes", "Example", "Examples", "Note", "Raises", "Returns", "Yields"}


def on_startup(**ignored: Any) -> None:
    """Link every module to where it lies in the installed package; by the time of later events its place is read."""
    shutil.rmtree(TREE, ignore_errors=True)
    for place, file in package_modules().items():
        link = TREE / place
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)


def on_files(files: Any, config: Any) -> None:
    """Add the notebook as a page, and its pictures."""
    text, pictures = notebook_page(nbformat.read(NOTEBOOK, as_version=4))
    files.append(File.generated(config, PAGES[NOTEBOOK], content=text))
    for name, content in pictures.items():
        files.append(File.generated(config, name, content=content))


def notebook_page(notebook: Any) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source.replace("](../docs/", "]("))
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"notebook_{len(pictures)}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![What the cell draws]({name})")
            else:
                parts.append(f"```text\n{output.get('text') or data.get('text/plain', '')}\n```")
    return "\n\n".join(parts), pictures


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Mend the links that lead out of docs/.

    Raises:
        FileNotFoundError: a link leads to a file that is not there.
    """
    if page.is_homepage:
        page.meta.setdefault("hide", ["navigation"])  # front matter would show on GitHub
    folder = PurePosixPath(page.file.src_uri).parent
    here = Path(config.docs_dir, folder)

    def mend(found: re.Match[str]) -> str:
        text, target, anchor = found[1], found[2], found[3] or ""
        path = (here / target).resolve()
        if path.is_relative_to(Path(config.docs_dir).resolve()):
            return found[0]
        if not path.exists():
            raise FileNotFoundError(f"{page.file.src_uri} links to {target}, which is not there.")
        if path in PAGES:
            return f"[{text}]({os.path.relpath(PAGES[path], folder)})"
        if config.repo_url:
            kind = "tree" if path.is_dir() else "blob"
            return f"[{text}]({config.repo_url.rstrip('/')}/{kind}/main/{path.relative_to(ROOT).as_posix()}{anchor})"
        return text

    return LINK.sub(mend, markdown)


def list_sections(text: str) -> str:
    """A docstring whose sections of our own (Task, Episode, Observation, ...) are items of a definition list."""

    def item(found: re.Match[str]) -> str:
        title, body = found[1], found[2].rstrip("\n")
        return found[0] if title in GOOGLE_SECTIONS else f"\n{title}\n:   {body.lstrip()}\n\n"

    return SECTION.sub(item, text)


class ListedSections(griffe.Extension):
    """Shows the sections of the families' docstrings one below the other."""

    def on_object(self, *, obj: griffe.Object, **ignored: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = list_sections(obj.docstring.value)
