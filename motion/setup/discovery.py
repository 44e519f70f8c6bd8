"""All of `bongsu cameras discover` but its questions: devices, their streams, and what is new among them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from motion.edit import CamerasText
from motion.setup.credentials import Vault
from motion.setup.entries import Proposal, known_streams, same_stream, unused_id
from motion.setup.onvif_device import Channel, DeviceError, load_definitions, read_channels
from motion.setup.probing import Device, find_devices

_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Login:
    """User name and password, in the clear."""

    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Discovered:
    """What the network holds."""

    proposals: tuple[Proposal, ...]
    vault: Vault
    lines: tuple[str, ...]
    """For the operator: each device and its streams, or why it has none."""
    failed: int
    """How many devices did not give their streams."""


def discovered(
    text: CamerasText,
    stored: Mapping[str, str],
    login: Callable[[], Login],
    interfaces: Sequence[str],
    *,
    timeout_s: float,
    scope: str | None,
) -> Discovered:
    """Find devices and read their streams; `login` is called once, and only if a device was found.

    Raises:
        ValueError: there is no such interface.
    """
    vault = Vault(stored)
    devices = asyncio.run(find_devices(interfaces, timeout_s))
    devices = [device for device in devices if scope is None or any(scope in own for own in device.scopes)]
    if not devices:
        where = f" on {', '.join(interfaces)}" if interfaces else ""
        hint = "is ONVIF switched on in the cameras, and are they in this network segment?"
        return Discovered((), vault, (f"no ONVIF device answered{where} within {timeout_s:g} s: {hint}",), 1)
    given = login()
    answers = asyncio.run(_read_all(devices, given, timeout_s))
    lines = [f"{len(devices)} ONVIF device{'s' * (len(devices) > 1)}"]
    proposals: list[Proposal] = []
    known, taken = known_streams(text), {str(entry.get("id")) for entry in text.entries}
    for device, answer in zip(devices, answers, strict=True):
        lines.append(_headline(device))
        if isinstance(answer, DeviceError):
            lines.append(f"  FAILED: {answer}")
            continue
        for number, channel in enumerate(answer, 1):
            lines += [f"  main  {channel.main.words}", *([f"  sub   {channel.sub.words}"] if channel.sub else [])]
            there = known.get(same_stream(channel.main.uri))
            if there is not None:
                lines.append(f"  is in the file already, as {there}")
                continue
            name = device.name or f"camera-{device.host}"
            unused = unused_id(name if len(answer) == 1 else f"{name}-{number}", taken)
            proposals.append(_proposal(unused, device, channel, vault, given))
            taken.add(proposals[-1].id)
            lines.append(f"  new: {proposals[-1].id}")
    failed = sum(isinstance(answer, DeviceError) for answer in answers)
    return Discovered(tuple(proposals), vault, tuple(lines), failed)


def _proposal(name: str, device: Device, channel: Channel, vault: Vault, login: Login) -> Proposal:
    sub = channel.sub
    return Proposal(
        name,
        vault.with_login(channel.main.uri, login.user, login.password),
        None if sub is None else vault.with_login(sub.uri, login.user, login.password),
        notes=(f"{_headline(device)}: {channel.main.words}" + (f", sub-stream {sub.words}" if sub else ""),),
    )


def _headline(device: Device) -> str:
    return " ".join(part for part in (device.host, device.name, device.hardware) if part)


async def _read_all(devices: Sequence[Device], login: Login, timeout_s: float) -> list[list[Channel] | DeviceError]:
    await load_definitions()
    slots = asyncio.Semaphore(_AT_ONCE)

    async def read(device: Device) -> list[Channel] | DeviceError:
        async with slots:
            try:
                return await read_channels(device.xaddr, login.user, login.password, timeout_s)
            except DeviceError as error:
                return error

    return list(await asyncio.gather(*(read(device) for device in devices)))
