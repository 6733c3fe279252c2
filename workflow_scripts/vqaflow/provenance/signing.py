"""Signatures of folders by OpenSSF model signing, with a key pair of one's own, so that no network is needed."""

import os
from pathlib import Path

from vqaflow.provenance.tools import last_line, run_tool
from vqaflow.runtime.errors import UserError

SIGNER, OPENSSL = "model_signing", "openssl"
CURVE = "prime256v1"  # NIST P-256, which model signing takes
PRIVATE, PUBLIC = "signing_key.pem", "signing_key.pub"


def make_keys(folder: Path) -> tuple[Path, Path]:
    """Write a new private key, readable by its owner alone, and its public key into `folder`; returns their paths."""
    private, public = folder / PRIVATE, folder / PUBLIC
    if there := [path for path in (private, public) if path.exists()]:
        raise UserError(f"{there[0]}: is already there. Name another folder; a key that is lost cannot sign again.")
    folder.mkdir(parents=True, exist_ok=True)
    os.close(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # before openssl writes into it
    run_openssl(["ecparam", "-name", CURVE, "-genkey", "-noout", "-out", str(private)])
    os.chmod(private, 0o600)
    run_openssl(["ec", "-in", str(private), "-pubout", "-out", str(public)])
    return private, public


def run_openssl(arguments: list[str]) -> None:
    """Run openssl. Raises UserError if it fails."""
    done = run_tool(OPENSSL, arguments)
    if done.returncode:
        raise UserError(f"{OPENSSL}: made no key ({last_line(done)}). Install OpenSSL 1.1 or newer.")


def signature_of(folder: Path) -> Path:
    """Where the signature of a folder is by default: beside it, so that the folder stays as it is."""
    return folder.with_name(f"{folder.resolve().name}.sig")


def sign(folder: Path, key: Path, signature: Path) -> None:
    """Sign each file of `folder` with the private `key`."""
    require(folder, key)
    if key.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{key}: lies in the folder that is signed and would be handed on with it. Move it elsewhere.")
    if signature.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{signature}: lies in the folder that is signed. Name a file outside it.")
    done = run_tool(SIGNER, ["sign", "key", str(folder), "--private_key", str(key), "--signature", str(signature)])
    if done.returncode:
        raise UserError(f"{folder}: was not signed ({last_line(done)}). Give a private key of vqaflow sign keys.")


def check_signature(folder: Path, key: Path, signature: Path) -> None:
    """Raise UserError unless `folder` has exactly the files that were signed by the owner of the public `key`."""
    require(folder, key)
    if not signature.is_file():
        raise UserError(f"{signature}: is missing. Get the signature of the author, or name it: --signature FILE.")
    done = run_tool(SIGNER, ["verify", "key", str(folder), "--public_key", str(key), "--signature", str(signature)])
    if done.returncode:
        why = last_line(done).partition(": Expected")[0]  # then come digests as Python shows bytes
        raise UserError(
            f"{folder}: does not match its signature ({why}). A file was changed, added or removed, or "
            "somebody else signed. Get the folder and the public key again from their author."
        )


def require(folder: Path, key: Path) -> None:
    """Raise UserError unless both are there."""
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder. Give the folder of an adapter or of a crate.")
    if not key.is_file():
        raise UserError(f"{key}: is missing. Make a pair of keys: vqaflow sign keys FOLDER.")
