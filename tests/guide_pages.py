"""The code blocks of the installation page and the user guide."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "docs/install.md", *sorted((ROOT / "docs/guide").glob("*.md"))]


def blocks(page, language):
    """Texts of the blocks of a language; sh is what tests run, no language what needs nodes."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(page):
    """Lines of the blocks that tests run."""
    return [line for block in blocks(page, "sh") for line in block.splitlines() if line]


def objects(page):
    """Kubernetes objects of the YAML blocks."""
    found = [one for block in blocks(page, "yaml") for one in yaml.safe_load_all(block)]
    return [one for one in found if isinstance(one, dict) and "kind" in one]
