"""Build the images, and list what is in them: python -m infra.docker.images [ROLE]...

A role's list (SBOM, CycloneDX) is written to build/sbom/<role>.cdx.json.
"""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from components.images import IMAGES
from eve_core.errors import UserError
from pipelines.eve_training.arguments import git_revision

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom

_ROOT = Path(__file__).parents[2]
_EXTRAS = {"data": [], "train": ["train"], "services": ["workflow"], "worker": ["train", "workflow"]}
"""Of pyproject.toml, by role."""
_LIST_PACKAGES = """
import importlib.metadata as m, json
print(json.dumps(sorted((d.metadata["Name"], d.version, d.metadata["License-Expression"]) for d in m.distributions())))
"""


def build(role: str) -> str:
    """Build a role's image; its name. The engine's network is the machine's, to reach the same package index.

    Raises:
        UserError: there is no such role, no Docker, or the build failed.
    """
    if role not in IMAGES:
        raise UserError(f"there is no image {role}; choose of {', '.join(IMAGES)}")
    arguments = {
        "ROLE": role,
        "EXTRAS": " ".join(f"--extra {extra}" for extra in _EXTRAS[role]),
        "VERSION": importlib.metadata.version("eve-workflow"),
        "REVISION": git_revision(),
    }
    command = ["docker", "build", "--network=host", "--tag", IMAGES[role], "--file", "infra/docker/Dockerfile", "."]
    command += [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
    try:
        subprocess.run(command, cwd=_ROOT, check=True)
    except FileNotFoundError:
        raise UserError("docker is not installed; install it, or build where it is") from None
    except subprocess.CalledProcessError:
        raise UserError(f"the image {role} was not built; Docker's output above says why") from None
    return IMAGES[role]


def bill_of_materials(image: str) -> "Bom":
    """Every Debian and Python package in an image, with version."""
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    bom = Bom()
    bom.metadata.component = Component(name=image, type=ComponentType.CONTAINER)
    for name, version, license_ in json.loads(_run_in(image, "python", "-c", _LIST_PACKAGES)):
        licenses = [LicenseFactory().make_from_string(license_)] if license_ else []
        purl = PackageURL("pypi", name=name, version=version)
        bom.components.add(Component(name=name, version=version, purl=purl, licenses=licenses))
    listed = _run_in(image, "dpkg-query", "--show", "--showformat", "${Package} ${Version}\n")
    for name, version in (line.split() for line in listed.splitlines()):
        purl = PackageURL("deb", "debian", name, version)
        bom.components.add(Component(name=name, version=version, purl=purl))
    return bom


def write_bill(bom: "Bom", path: Path) -> None:
    """As CycloneDX JSON."""
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion

    path.parent.mkdir(parents=True, exist_ok=True)
    make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_to_file(str(path), allow_overwrite=True, indent=1)


def _run_in(image: str, *command: str) -> str:
    run = ["docker", "run", "--rm", "--network=none", "--read-only", image, *command]
    return subprocess.run(run, check=True, capture_output=True, text=True).stdout


def main(roles: list[str]) -> None:
    """Build `roles`, all of them when none is given."""
    for role in roles or [*IMAGES]:
        image = build(role)
        bill = _ROOT / "build" / "sbom" / f"{role}.cdx.json"
        write_bill(bill_of_materials(image), bill)
        size = subprocess.run(
            ["docker", "image", "inspect", "--format", "{{.Size}}", image], check=True, capture_output=True, text=True
        ).stdout
        print(f"{image}: {int(size) / 1e9:.2f} GB; what is in it: {bill.relative_to(_ROOT)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
