from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import FleetError
from edge.inventory import read_inventory, write_inventory
from edge.nodes import Node


def read(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "hosts.ini"
    path.write_text(text)
    return path


def test_a_host_has_its_own_variables_over_those_of_its_groups(tmp_path: Path) -> None:
    found = read_inventory(read(tmp_path, """
[all:vars]
ansible_user = pi
ansible_port = 22
[cameras]
gate ansible_host=10.0.0.7 ansible_port=2222 # a comment
[edge:children]
cameras
[edge:vars]
ansible_ssh_private_key_file=~/.ssh/edge
"""))  # fmt: skip
    host = found.hosts["gate"]
    assert str(host.address()) == "pi@10.0.0.7:2222"
    assert host.key == "~/.ssh/edge"
    assert host.groups == ["cameras", "edge"]


def test_passwords_are_left_out_and_named(tmp_path: Path) -> None:
    found = read_inventory(read(tmp_path, "gate ansible_user=pi ansible_ssh_pass=hunter2 ansible_become_pass=x\n"))
    assert "hunter2" not in repr(found.hosts)
    assert len(found.notes) == 2
    assert all("is left out" in note and "hunter2" not in note for note in found.notes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[a:b:c]\n", "a section is"),
        ("gate[1:5] ansible_user=pi\n", "ranges are not read"),
        ("gate pi\n", "after a host come KEY=VALUE"),
        ("gate ansible_user='pi\n", "hosts.ini:1: No closing quotation"),
    ],
)
def test_what_is_no_inventory_is_one_line(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(FleetError, match=reason):
        read_inventory(read(tmp_path, text))


def test_a_host_without_a_user_says_what_to_do(tmp_path: Path) -> None:
    host = read_inventory(read(tmp_path, "gate\n")).hosts["gate"]
    assert str(host.address("pi")) == "pi@gate:22"
    with pytest.raises(FleetError, match="has no ansible_user: name one there, or with --user"):
        host.address()


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("x") / "hosts.ini"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        read_inventory(path)
    except FleetError as error:
        assert "\n" not in str(error)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    node = Node(
        name="gate", added_at=datetime.now(UTC), ssh="pi@[fe80::1]:2222", key="/keys/my key", labels={"site": "harbour"}
    )
    cluster = Node(name="pod-1", added_at=datetime.now(UTC), kubernetes=True)
    found = read_inventory(read(tmp_path, write_inventory([node, cluster])))
    assert list(found.hosts) == ["gate"]
    host = found.hosts["gate"]
    assert str(host.address()) == "pi@[fe80::1]:2222"
    assert host.key == "/keys/my key"
    assert host.groups == ["bongsu", "site_harbour"]
