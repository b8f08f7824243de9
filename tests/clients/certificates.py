"""An authority of our own and a certificate from it for this host, by the openssl program."""

import subprocess

EC_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Certificates:
    """Files in PEM: `ca`, and `cert` with `key` for localhost and 127.0.0.1."""

    def __init__(self, folder):
        self.folder = folder
        self.ca, self.cert, self.key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
        ca_key = folder / "ca.key"
        self._make(self.ca, ca_key, "/CN=Test authority")
        self._make(
            self.cert,
            self.key,
            "/CN=Test server",
            *("-CA", self.ca, "-CAkey", ca_key),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        )

    def _make(self, cert, key, subject, *options):
        command = ["openssl", "req", "-x509", *EC_KEY, "-days", "30", "-subj", subject]
        command += ["-out", cert, "-keyout", key, *options]
        subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=30)
