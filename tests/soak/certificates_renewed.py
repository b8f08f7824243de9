"""Certificates that are replaced while they are served."""

import shutil
import socket
import ssl

from certificates import Certificates


class Renewed(Certificates):
    """The pair that is served, and others to put in its place."""

    def __init__(self, folder):
        super().__init__(folder)
        self.made = 0
        self.served_cert, self.served_key = folder / "served.pem", folder / "served.key"
        self.renew()

    def renew(self):
        """Replaces the pair, one file after the other; gives the serial number of the new certificate."""
        self.made += 1
        cert, key = self.issue("next", f"/CN=Server {self.made}", "DNS:localhost,IP:127.0.0.1")
        for new, served in ((cert, self.served_cert), (key, self.served_key)):
            copy = served.with_suffix(".new")
            shutil.copy(new, copy)
            copy.rename(served)
        return self.served_cert.read_text()

    def shown(self, port):
        """What a client is shown there, in PEM."""
        context = ssl.create_default_context(cafile=str(self.ca))
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
                return ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True))
