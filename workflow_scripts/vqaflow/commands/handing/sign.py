"""Sign a folder, or check its signature, by OpenSSF model signing with a key pair of one's own.

keys: make a private and a public key. Keep the private one to yourself; give the public one to those who check.
folder: sign an adapter's folder or a crate; the signature is a file beside it (FOLDER.sig).
check: whether a folder has exactly the files that were signed. Nothing here needs a network. docs/provenance.md
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    actions = parser.add_subparsers(dest="what", required=True)
    keys = actions.add_parser("keys", help="make a key pair")
    keys.add_argument("folder", type=Path, help="where the keys are written; not a folder that you hand on")
    for name, key in {"folder": "private", "check": "public"}.items():
        action = actions.add_parser(name, help="sign a folder" if name == "folder" else "check a signature")
        action.add_argument("folder", type=Path, help="an adapter's folder, or a crate")
        action.add_argument("--key", type=Path, required=True, metavar="FILE", help=f"the {key} key")
        action.add_argument("--signature", type=Path, metavar="FILE", help="default: FOLDER.sig beside the folder")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.provenance.signing import check_signature, make_keys, sign, signature_of

    if arguments.what == "keys":
        private, public = make_keys(arguments.folder)
        print(f"{private}  private: never hand it on\n{public}  public: give it to those who check")
        return
    signature = arguments.signature or signature_of(arguments.folder)
    if arguments.what == "folder":
        sign(arguments.folder, arguments.key, signature)
        print(signature)
    else:
        check_signature(arguments.folder, arguments.key, signature)
        print(f"ok       {arguments.folder} has exactly the files that were signed")
