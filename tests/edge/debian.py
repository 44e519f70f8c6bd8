"""A Debian machine of its own for tests: this root under an overlay, in namespaces of network and mounts, with sshd."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.edge.servers import SEARCHED, SshNode
from tests.servers import ServerError

HOST, GUEST = "10.213.7.1", "10.213.7.2"
_PACKAGES = ("chrony", "podman", "nftables", "python3", "openssl", "ca-certificates")


class DebianMachine(SshNode):
    """What is written there is gone with it; a repository of empty packages stands for Debian's."""

    name = "debian"
    host = GUEST

    def __init__(self, home: Path, client_key: Path, name: str = "bongsut") -> None:
        """Prepare; needs root.

        Raises:
            ServerError: a program or a right is missing.
        """
        for program in ("unshare", "ip", "nft", "dpkg-deb"):
            if shutil.which(program, path=SEARCHED) is None:
                raise ServerError(f"no {program}: apt-get install util-linux iproute2 nftables dpkg")
        super().__init__(home, client_key)
        self._namespace, self._link = name, f"{name}0"
        self.root = home / "root"

    @property
    def address(self) -> str:
        return f"root@{GUEST}:{self.port}"

    def start(self) -> None:
        """Make the namespace and the root, and start sshd in them."""
        _run("ip", "netns", "add", self._namespace)
        _run("ip", "link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self._namespace)
        _run("ip", "address", "add", f"{HOST}/30", "dev", self._link)
        _run("ip", "link", "set", self._link, "up")
        self.inside("ip", "address", "add", f"{GUEST}/30", "dev", "eth0")
        for device in ("lo", "eth0"):
            self.inside("ip", "link", "set", device, "up")
        _run("mount", "-t", "tmpfs", "none", str(self._overlay()))
        for part in ("upper", "work", "root"):
            (self._overlay() / part).mkdir()
        self.root = self._overlay() / "root"
        layers = f"lowerdir=/,upperdir={self._overlay()}/upper,workdir={self._overlay()}/work"
        _run("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))
        for folder in ("proc", "dev", "sys"):
            _run("mount", "--bind", f"/{folder}", f"{self.root}/{folder}")
        inside = self.root / self.home.relative_to("/")
        for folder in (inside, self.root / "run/sshd"):
            folder.mkdir(parents=True, exist_ok=True)
        _run("mount", "--bind", str(self.home), str(inside))
        self._write_packages()
        super().start()

    def stop(self) -> None:
        """Stop sshd and leave nothing."""
        super().stop()
        subprocess.run(["umount", "--recursive", "--lazy", str(self._overlay())], check=False)
        subprocess.run(["ip", "netns", "delete", self._namespace], check=False)
        subprocess.run(["ip", "link", "delete", self._link], check=False, stderr=subprocess.DEVNULL)

    def inside(self, *command: str) -> str:
        """What a command prints in its namespace."""
        return _run("ip", "netns", "exec", self._namespace, *command)

    def _overlay(self) -> Path:
        path = self.home / "overlay"
        path.mkdir(exist_ok=True)
        return path

    def _command(self) -> tuple[list[str], dict[str, str]]:
        command, environ = super()._command()
        config = self.home / "sshd_config"
        config.write_text(config.read_text().replace("127.0.0.1", GUEST).replace(f"SetEnv HOME={self.user_home}", ""))
        return ["ip", "netns", "exec", self._namespace, "chroot", str(self.root), *command], environ

    def _write_packages(self) -> None:
        """A repository with the packages that are missing, each empty but for what a test looks for."""
        repository = self.root / "srv/repository"
        repository.mkdir(parents=True)
        entries = [_write_package(repository, name) for name in _PACKAGES]
        (repository / "Packages").write_text("\n".join(entries))
        shutil.rmtree(self.root / "etc/apt/sources.list.d", ignore_errors=True)
        (self.root / "etc/apt/sources.list").write_text("deb [trusted=yes] file:/srv/repository ./\n")


def _write_package(repository: Path, name: str) -> str:
    built = repository / f"{name}.d"
    (built / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: 0\nArchitecture: all\nMaintainer: test\nDescription: stands for it\n"
    (built / "DEBIAN/control").write_text(control)
    _run("dpkg-deb", "--build", "-Znone", str(built), str(repository / f"{name}.deb"))
    content = (repository / f"{name}.deb").read_bytes()
    where = f"Filename: ./{name}.deb\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
    return control + where


def _run(*command: str) -> str:
    return _checked(command).stdout


def _checked(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        list(command), capture_output=True, text=True, check=False, env={**os.environ, "PATH": SEARCHED}
    )
    if done.returncode:
        raise ServerError(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
    return done
