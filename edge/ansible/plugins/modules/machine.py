"""Ansible module `bongsu.edge.machine`: what a machine is and lacks, in one look."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: machine
short_description: What a machine is and lacks
description: Reads the files of the kernel and of dpkg; changes nothing. Fails where there is no apt.
options:
  packages: {description: Debian packages to look for., type: list, elements: str, default: []}
author: [Bongsu's contributors]
"""
RETURN = """
systemd: {description: Whether systemd runs it., type: bool, returned: always}
gpu: {description: Whether it has a GPU of NVIDIA's., type: bool, returned: always}
keeps_time: {description: The installed package that synchronises its clock., type: str, returned: always}
missing: {description: Which of the packages are not installed., type: list, returned: always}
notes: {description: What it lacks that no package brings., type: list, returned: always}
"""
_TIME = ("chrony", "systemd-timesyncd", "ntpsec", "ntp", "openntpd")
_NVIDIA = "0x10de"
_DISPLAY = "0x03"


def main() -> None:
    """Look, and answer."""
    module = AnsibleModule(
        argument_spec={"packages": {"type": "list", "elements": "str", "default": []}}, supports_check_mode=True
    )
    installed = _installed()
    if not installed or not Path("/usr/bin/apt-get").exists():
        module.fail_json(msg="there is no apt-get and dpkg: only Debian and its derivatives are prepared")
    has_systemd, has_gpu = Path("/run/systemd/system").is_dir(), _has_gpu()
    notes = ["systemd does not run here: no service is started or enabled, and k3s is left out"] * (not has_systemd)
    notes += ["there is no GPU of NVIDIA: its container runtime is left out"] * (not has_gpu)
    module.exit_json(
        changed=False,
        systemd=has_systemd,
        gpu=has_gpu,
        keeps_time=next((name for name in _TIME if name in installed), ""),
        missing=sorted(set(module.params["packages"]) - installed),
        notes=notes,
    )


def _installed() -> set[str]:
    try:
        done = subprocess.run(
            ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\n"],
            stdout=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"}, check=False,
        )  # fmt: skip
    except OSError:
        return set()
    rows = (line.split() for line in done.stdout.decode(errors="replace").splitlines())
    return {row[1] for row in rows if row[:1] == ["installed"]}


def _has_gpu() -> bool:
    if Path("/proc/driver/nvidia").is_dir():
        return True
    board = Path("/proc/device-tree/model")
    if board.is_file() and b"NVIDIA" in board.read_bytes():
        return True
    for device in Path("/sys/bus/pci/devices").glob("*"):
        try:
            kind, vendor = (device / "class").read_text(), (device / "vendor").read_text()
        except OSError:
            continue
        if kind.startswith(_DISPLAY) and vendor.strip() == _NVIDIA:
            return True
    return False


if __name__ == "__main__":
    main()
