"""What all tests have: the captioner's key pair, as `bongsu run` makes one for its machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from functions.signature import new_private_key, public_key_of


@pytest.fixture(scope="session", autouse=True)
def caption_keys() -> Iterator[dict[str, str]]:
    """The variables, which are set for processes that tests start as well."""
    key = new_private_key()
    variables = {"BONGSU_CAPTION_KEY": key, "BONGSU_CAPTION_PUBLIC_KEYS": public_key_of(key)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield variables
