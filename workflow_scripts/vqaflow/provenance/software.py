"""What software the environment holds (CycloneDX), and which of it has known vulnerabilities (pip-audit)."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqaflow.provenance.crate_checks import json_in
from vqaflow.provenance.tools import last_line, run_tool
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import write_text
from vqaflow.runtime.secrets import require_no_secret

LISTER, AUDITOR = "cyclonedx-py", "pip-audit"
LOCK = "requirements.lock"
SERVICES = {"pypi": "pypi.org", "osv": "api.osv.dev"}
OWN = "vqaflow"  # on no index


def write_bom(out: Path) -> None:
    """Write the list of all packages of this Python's environment: CycloneDX 1.6 as JSON, reproducible.

    Raises UserError if it would hand a secret on: pip notes the address, with its password, that a package came from.
    """
    done = run_tool(LISTER, ["environment", "--output-reproducible", "--of", "JSON", "-o", "-", sys.executable])
    if done.returncode or not json_in(done.stdout).get("components"):
        raise UserError(f"{out}: was not written ({last_line(done)}). Name the Python of a whole environment.")
    require_no_secret(f"{out}", done.stdout)
    write_text(out, done.stdout.rstrip("\n") + "\n")


def audit(lock: Path, service: str, seconds: float = 600) -> list[str]:
    """The known vulnerabilities of the locked packages, a line each; raises UserError if any could not be looked up.

    pip-audit alone ends well, and says that nothing is known, where its database does not answer.
    """
    if not lock.is_file():
        raise UserError(f"{lock}: is missing. Give the file of pinned packages: --lock FILE.")
    asked = ["--requirement", str(lock), "--no-deps", "--disable-pip", "--vulnerability-service", service]
    done = run_tool(AUDITOR, [*asked, "--format", "json", "--progress-spinner", "off", "--timeout", "10"], seconds)
    told = json_in(done.stdout)
    packages = told.get("dependencies", [])
    skipped = [package["name"] for package in packages if "skip_reason" in package and package["name"] != OWN]
    if not packages or skipped:
        what = f"{len(skipped)} of {len(packages)} packages could not be looked up" if packages else last_line(done)
        raise UserError(
            f"audit: the database of vulnerabilities ({SERVICES[service]}) did not answer: {what}. Nothing is known of "
            "them; run it where this address can be reached, or try --service "
            f"{next(name for name in SERVICES if name != service)}."
        )
    return list(findings(packages))


def findings(packages: list[dict[str, Any]]) -> Iterator[str]:
    """A line per vulnerability: package, version, its names, and the versions that mend it."""
    for package in packages:
        for found in package.get("vulns", []):
            names = ", ".join([found["id"], *found.get("aliases", [])])
            mended = ", ".join(found.get("fix_versions", [])) or "no version yet"
            yield f"{package['name']} {package['version']}: {names}; mended in {mended}"
