"""An authority of our own and certificates from it, by the openssl program."""

import subprocess

EC_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Certificates:
    """Files in PEM: `ca`, `cert` with `key` for localhost and 127.0.0.1, and what `issue` makes."""

    def __init__(self, folder):
        self.folder = folder
        self.ca, self._ca_key = folder / "ca.pem", folder / "ca.key"
        self._make(self.ca, self._ca_key, "/CN=Test authority")
        self.cert, self.key = self.issue("cert", "/CN=Test server", "DNS:localhost,IP:127.0.0.1")

    def issue(self, name, subject, names):
        """A certificate for those names, and its key."""
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        self._make(
            cert,
            key,
            subject,
            *("-CA", self.ca, "-CAkey", self._ca_key),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-addext", f"subjectAltName={names}"),
        )
        return cert, key

    def _make(self, cert, key, subject, *options):
        command = ["openssl", "req", "-x509", *EC_KEY, "-days", "30", "-subj", subject]
        command += ["-out", cert, "-keyout", key, *options]
        subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=30)
