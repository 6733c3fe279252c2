"""List the software of this environment (sbom), or look for known vulnerabilities in it (audit).

sbom: every package of this Python's environment, as CycloneDX JSON; equal environments give equal bytes.
audit: the packages of requirements.lock, looked up by pip-audit; exit status 1 if one has a known vulnerability. It
needs a network: where the database does not answer, it says so, and does not say that all is well. docs/provenance.md
"""

import argparse
from pathlib import Path

SERVICES = ("pypi", "osv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    actions = parser.add_subparsers(dest="what", required=True)
    sbom = actions.add_parser("sbom", help="write the list of packages")
    sbom.add_argument("out", type=Path, help="the file to write, such as sbom.json")
    audit = actions.add_parser("audit", help="look for known vulnerabilities")
    audit.add_argument("--lock", type=Path, metavar="FILE", help="the pinned packages (default: vqaflow's lock)")
    audit.add_argument("--service", choices=SERVICES, default="pypi", help="the database (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from vqaflow.config.loading import REPOSITORY
    from vqaflow.provenance.software import LOCK, audit, write_bom

    if arguments.what == "sbom":
        write_bom(arguments.out)
        print(arguments.out)
        return 0
    found = audit(arguments.lock or REPOSITORY / LOCK, arguments.service)
    print(*found or ["no known vulnerability"], sep="\n")
    return 1 if found else 0
