"""What a fleet stands on, for its tests: an SSH server as a node, a registry with TLS and a private authority."""

from __future__ import annotations

import contextlib
import datetime
import getpass
import ipaddress
import os
import re
import shutil
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers import Server, ServerError

SEARCHED = f"{os.environ['PATH']}:/usr/sbin:/sbin"
USER, PASSWORD = "pusher", "only-for-tests"
_PASSWORD_HASH = "$2b$05$abcdefghijklmnopqrstuuDt8u8tY.Zm8YU.pieFNyF5h5afvnc0a"


class SshNode(Server):
    """OpenSSH's server as one node: a folder of its own is its user's home."""

    name = "sshd"

    def __init__(self, home: Path, client_key: Path) -> None:
        """Make the node's host key, and let `client_key` in."""
        super().__init__(home)
        found = shutil.which("sshd", path=SEARCHED)
        if found is None:
            raise ServerError("no sshd: apt-get install openssh-server")
        self._sshd = found
        self.user_home = home / "home"
        self.user_home.mkdir(exist_ok=True)
        if not (home / "host_key").exists():
            make_ssh_key(home / "host_key")
        (home / "authorized_keys").write_text(client_key.with_suffix(".pub").read_text())
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)

    @property
    def address(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def fingerprint(self) -> str:
        command = ["ssh-keygen", "-l", "-f", str(self.home / "host_key.pub")]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[1]

    def kill(self) -> None:
        """Stop as a power cut would: what runs in its sessions, too, which the server's end alone leaves running."""
        for process in psutil.Process(self.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        super().kill()

    def log(self) -> str:
        return (self.home / "out.log").read_text(errors="replace")

    def _command(self) -> tuple[list[str], dict[str, str]]:
        (self.home / "sshd_config").write_text(
            f"""
            Port {self.port}
            ListenAddress 127.0.0.1
            HostKey {self.home}/host_key
            PidFile {self.home}/pid
            AuthorizedKeysFile {self.home}/authorized_keys
            PasswordAuthentication no
            KbdInteractiveAuthentication no
            UsePAM no
            StrictModes no
            PermitRootLogin yes
            MaxStartups 100
            SetEnv HOME={self.user_home}
            """
        )
        return [self._sshd, "-D", "-e", "-f", str(self.home / "sshd_config")], dict(os.environ)


class OciRegistry(Server):
    """Debian's docker-registry with TLS, one user, and deletion."""

    name = "docker-registry"

    def __init__(self, home: Path) -> None:
        """Make an authority, and a certificate of 127.0.0.1 that it signs."""
        super().__init__(home)
        found = shutil.which("docker-registry", path=SEARCHED)
        if found is None:
            raise ServerError("no docker-registry: apt-get install docker-registry")
        self._registry = found
        self.ca = home / "ca.pem"
        self.config = home / "config.yml"
        if not self.ca.exists():
            make_certificates(home)
        (home / "password").write_text(PASSWORD)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What names it for bongsu."""
        return {
            "BONGSU_MODEL_REGISTRY": self.url,
            "BONGSU_MODEL_REGISTRY_CA": str(self.ca),
            "BONGSU_MODEL_REGISTRY_USER": USER,
            "BONGSU_MODEL_REGISTRY_PASSWORD_FILE": str(self.home / "password"),
        }

    def sent(self) -> list[tuple[str, int, int]]:
        """Path, status and bytes of each answered GET."""
        # Apache's format, which it logs beside its own.
        found = re.findall(r'"GET (/v2/\S+) HTTP[^"]*" (\d+) (\d+)', (self.home / "out.log").read_text())
        return [(path, int(status), int(size)) for path, status, size in found]

    def bytes_on_disk(self) -> int:
        return sum(file.stat().st_size for file in (self.home / "storage").rglob("data") if file.is_file())

    def _command(self) -> tuple[list[str], dict[str, str]]:
        (self.home / "htpasswd").write_text(f"{USER}:{_PASSWORD_HASH}\n")
        self.config.write_text(
            f"""
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {self.home}/storage}}
  delete: {{enabled: true}}
http:
  addr: 127.0.0.1:{self.port}
  tls: {{certificate: {self.home}/server.pem, key: {self.home}/server.key}}
auth:
  htpasswd: {{realm: models, path: {self.home}/htpasswd}}
"""
        )
        return [self._registry, "serve", str(self.config)], dict(os.environ)

    def _await_service(self) -> None:
        context, end = ssl.create_default_context(cafile=str(self.ca)), time.monotonic() + 60
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"{self.url}/v2/", context=context, timeout=5)
            except urllib.error.HTTPError as answer:
                assert answer.code == 401
                return
            except OSError:
                time.sleep(0.1)
        raise ServerError(f"docker-registry did not answer: see {self.home / 'out.log'}")


def make_ssh_key(path: Path) -> Path:
    """An ed25519 pair of SSH without a passphrase."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True)
    return path


def make_certificates(home: Path, host: str = "127.0.0.1") -> None:
    """`ca.pem`, and `server.pem` with `server.key` for an address."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
    now = datetime.datetime.now(datetime.UTC)

    def begin(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
        )

    authority = begin(ca_name, ca_key.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    server = begin(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")]), key.public_key()).add_extension(
        x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False
    )
    for builder, name in ((authority, "ca.pem"), (server, "server.pem")):
        signed = builder.sign(ca_key, hashes.SHA256())
        (home / name).write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (home / "server.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
