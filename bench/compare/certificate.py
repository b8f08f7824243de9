"""The certificate that every proxy shows: ECDSA on P-256, as Let's Encrypt gives by default."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

HOST = "bench.test"


@dataclass(frozen=True)
class Certificate:
    """Where it is."""

    chain: Path
    key: Path
    # Both in one file, as HAProxy wants them.
    both: Path


def make(folder):
    """Makes it in the folder, for the name that the load asks for and the address that the bench looks at."""
    made = Certificate(folder / "cert.pem", folder / "key.pem", folder / "both.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    # Its own root: the load trusts it and nobody else.
    command += ["-days", "30", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST},IP:127.0.0.1"]
    command += ["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", str(made.key), "-out", str(made.chain)]
    subprocess.run(command, check=True, capture_output=True)
    made.both.write_text(made.chain.read_text(encoding="utf-8") + made.key.read_text(encoding="utf-8"), encoding="utf-8")
    # nginx's workers are another user when the bench is root.
    for path in (made.chain, made.key, made.both):
        path.chmod(0o644)
    return made
