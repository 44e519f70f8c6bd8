"""`bongsu cameras discover` and `bongsu cameras import`: what is found is shown, asked for and written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from motion.config import ConfigError, cameras_path, load_cameras
from motion.edit import CamerasText, EditError
from motion.secrets import SecretsError, read_secrets, secrets_path

if TYPE_CHECKING:
    from motion.setup.entries import Proposal, Written

_FILE = click.option(
    "--file", type=click.Path(path_type=Path), default=cameras_path, show_default="BONGSU_CAMERAS, or cameras.yaml"
)
_PLACE = click.option(
    "--place", "site", metavar="LAT,LON[,NAME]", help="Where they are; without it each is asked for, or left for later."
)
_YES = click.option("--yes", is_flag=True, help="Ask nothing: add all that is new.")


class SetupError(Exception):
    """Nothing could be done; one line."""


@click.command()
@_FILE
@click.option("--interface", "interfaces", multiple=True, metavar="NAME|ADDRESS", help="Ask on this network only.")
@click.option("--timeout", type=click.FloatRange(0.5, 120), default=5.0, show_default=True, help="Seconds to wait.")
@click.option("--scope", metavar="TEXT", help="Only devices with a scope that holds this, as in location/Seoul.")
@click.option("--user", envvar="BONGSU_CAMERA_USER", show_envvar=True, help="User name of the cameras.")
@click.option(
    "--password-file", type=click.Path(path_type=Path), help="Holds the password (or BONGSU_CAMERA_PASSWORD)."
)
@_PLACE
@_YES
def discover(
    *,
    file: Path,
    interfaces: tuple[str, ...],
    timeout: float,
    scope: str | None,
    user: str | None,
    password_file: Path | None,
    site: str | None,
    yes: bool,
) -> int:
    """Find ONVIF cameras on the local network and add them to the file of cameras.

    The password goes to cameras.env, readable by its owner alone, as a variable of the URL.
    """
    try:
        from motion.setup.discovery import Login, discovered

        def login() -> Login:
            return Login(user or _ask("User name of the cameras", yes, "--user"), _password(password_file, yes))

        text, stored = _opened(file)
        found = discovered(text, stored, login, interfaces, timeout_s=timeout, scope=scope)
        for said in found.lines:
            print(said)
        done = _add(file, text, found.proposals, found.vault, site=site, yes=yes)
        return _tell(file, done) if done is not None else (1 if found.failed else 0)
    except ModuleNotFoundError as error:
        return _failed(f"{error.name} is not installed: pip install 'bongsu[discover]'")
    except (SetupError, EditError, SecretsError, ValueError) as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"{error.filename or 'network'}: {error.strerror}")


@click.group(name="import")
def import_() -> None:
    """Take cameras over from another system."""


@import_.command()
@click.argument("config", type=click.Path(path_type=Path), metavar="CONFIG.YML")
@_FILE
@_PLACE
@_YES
def frigate(config: Path, file: Path, site: str | None, yes: bool) -> int:
    """Take over the cameras of a Frigate configuration: streams, masks, zones; says what it leaves out."""
    from motion.setup.frigate import read_frigate

    return _import(read_frigate, config, file, site, yes)


@import_.command()
@click.argument("config", type=click.Path(path_type=Path), metavar="GO2RTC.YAML")
@_FILE
@_PLACE
@_YES
def go2rtc(config: Path, file: Path, site: str | None, yes: bool) -> int:
    """Take over the streams of a go2rtc configuration; says what it leaves out."""
    from motion.setup.go2rtc import read_go2rtc

    return _import(read_go2rtc, config, file, site, yes)


def _import(read: Callable[..., Any], config: Path, file: Path, site: str | None, yes: bool) -> int:
    from motion.setup.credentials import Vault

    try:
        text, stored = _opened(file)
        vault = Vault(stored)
        found = read(config, text, vault)
        for said in found.left_out:
            print(f"{config}:{said}")
        done = _add(file, text, found.proposals, vault, site=site, yes=yes)
        return 0 if done is None else _tell(file, done)
    except (SetupError, EditError, SecretsError, ValueError) as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"{error.filename}: {error.strerror}")


def _opened(file: Path) -> tuple[CamerasText, dict[str, str]]:
    return CamerasText.read(file), read_secrets(secrets_path(file))


def _add(
    file: Path, text: CamerasText, proposals: Sequence[Proposal], vault: Any, *, site: str | None, yes: bool
) -> Written | None:
    from motion.setup.entries import parse_place, write

    if site is not None:
        parse_place(site, "site")
    if not proposals:
        print("nothing to add")
        return None
    if not yes:
        _need_terminal("--yes")
        if not click.confirm(f"Add {_counted(len(proposals))} to {file}?", default=True):
            print("nothing was written")
            return None

    def place_of(proposal: Proposal) -> Any:
        if site is not None:
            return parse_place(site, proposal.id)
        return None if yes else _asked_place(proposal.id)

    return write(file, text, proposals, place_of, vault)


def _asked_place(name: str) -> Any:
    from motion.setup.entries import parse_place

    while True:
        given = click.prompt(f"Where is {name}? LAT, LON[, NAME]; Enter: later", default="", show_default=False)
        if not given.strip():
            return None
        try:
            return parse_place(given, name)
        except ValueError as error:
            print(error)


def _tell(file: Path, done: Written) -> int:
    if done.added:
        print(f"{file}: added {', '.join(done.added)}")
    if done.for_later:
        print(f"{file}: written as comments, until they have a place: {', '.join(done.for_later)}")
    if done.variables:
        print(f"{secrets_path(file)}: added {', '.join(done.variables)}")
    try:
        load_cameras(file)
    except ConfigError as error:
        print(f"bongsu: before motion can read the file: {error}", file=sys.stderr)
        return 1
    if done.added:
        print(f"See that they can be read: bongsu cameras check --file {file}")
    return 0


def _counted(count: int) -> str:
    return "1 camera" if count == 1 else f"{count} cameras"


def _password(file: Path | None, yes: bool) -> str:
    import os

    if file is not None:
        text = file.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        if "\n" in text:
            raise SetupError(f"--password-file {file}: must hold the password on one line")
        return text
    given = os.environ.get("BONGSU_CAMERA_PASSWORD")
    return given if given is not None else _ask("Password", yes, "--password-file", hidden=True)


def _ask(what: str, yes: bool, option: str, hidden: bool = False) -> str:
    if yes:
        raise SetupError(f"nothing is asked with --yes: give {option}")
    _need_terminal(option)
    return str(click.prompt(what, hide_input=hidden, default="", show_default=False))


def _need_terminal(option: str) -> None:
    if not sys.stdin.isatty():
        raise SetupError(f"there is no terminal to ask on: give {option}")


def _failed(text: str) -> int:
    print(f"bongsu: {text}", file=sys.stderr)
    return 2
