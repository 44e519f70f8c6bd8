"""The cost of the captioner's signature: CPU time to sign and to verify an event, and to import and load a key.

    python -m bench.signature

CPU time of this process only, so that a busy machine changes little. The event is a caption with a snapshot of 120 kB,
a thumbnail of 12 kB and a drawn map of 20 kB; it is compared with encoding and decoding the same event.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

from functions import Box, Caption, Captioned, Detection, Place, decode, encode, new_id, utc_now
from functions.signature import Signer, Verifier, new_private_key, public_key_of

_TIMES = 400


def main() -> None:
    """Print a row for each step."""
    key = new_private_key()
    os.environ |= {"BONGSU_CAPTION_KEY": key, "BONGSU_CAPTION_PUBLIC_KEYS": public_key_of(key)}
    imported_ms = _import_ms()
    signer, verifier = Signer.from_environment(), Verifier.from_environment()
    event = _event()
    signed = signer.sign(event)
    body = encode(signed).body
    print(f"| step | CPU ms for each event of {len(body) // 1000} kB |\n|---|---|")
    steps: dict[str, Callable[[], object]] = {
        "encode": lambda: encode(signed),
        "decode": lambda: decode(body),
        "sign": lambda: signer.sign(event),
        "verify": lambda: verifier.require(signed),
    }
    for name, step in steps.items():
        print(f"| {name} | {_cpu_ms(step):.3f} |")
    print(f"\nImporting what a key needs takes {imported_ms:.0f} ms of CPU, once for each replica that starts.")


def _cpu_ms(step: Callable[[], object]) -> float:
    step()
    begun = time.process_time()
    for _ in range(_TIMES):
        step()
    return (time.process_time() - begun) / _TIMES * 1000


def _import_ms() -> float:
    """CPU time of the import, beyond a function's other imports; the median of five processes."""
    code = (
        "import functions, functions.signature, time; begun = time.process_time();"
        "functions.signature.Verifier.from_environment(); print(time.process_time() - begun)"
    )
    took = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(5)]
    return sorted(float(done.stdout) for done in took)[2] * 1000


def _event() -> Captioned:
    return Captioned(
        id=new_id(),
        hazard="fire",
        camera="gate-1",
        place=Place(37.5559, 126.9368, "Sinchon Market"),
        captured_at=utc_now(),
        caption=Caption("Fire at Sinchon Market, gate 1.", "신촌시장 1번 문에서 화재."),
        detections=(Detection("fire", 0.91, Box(0.1, 0.2, 0.3, 0.4)),),
        snapshot=os.urandom(120_000),
        thumbnail=os.urandom(12_000),
        location=os.urandom(20_000),
    )


if __name__ == "__main__":
    main()
