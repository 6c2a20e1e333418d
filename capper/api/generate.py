"""`python -m capper.api.generate`: writes the CRD and the reference page from the models."""

from pathlib import Path

import yaml

from capper.api import GROUP, PLURAL
from capper.api.reference import reference
from capper.api.schema import custom_resource_definition

_ROOT = Path(__file__).resolve().parents[2]


def generated() -> dict[Path, str]:
    """Path in the repository -> text of every generated file."""
    crd = yaml.safe_dump(custom_resource_definition(), sort_keys=False, width=100)
    note = "# Made by python -m capper.api.generate from the models in capper/api.\n"
    return {
        Path(f"k8s/crds/{GROUP}_{PLURAL}.yaml"): note + crd,
        Path("docs/api/powercappingconfig.md"): reference(),
    }


def main() -> None:
    """Write them."""
    for path, text in generated().items():
        target = _ROOT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
