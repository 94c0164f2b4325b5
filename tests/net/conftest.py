from __future__ import annotations

import functools
import ipaddress
import sys
from collections.abc import Iterator
from typing import Any

import pytest

_is_watching = False
_EVENTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}


class LeftThisMachine(BaseException):
    """A test was about to send something to another machine; no code that catches errors may swallow it."""


@pytest.fixture(autouse=True)
def _stay_on_loopback() -> Iterator[None]:
    """Refuse every packet to another machine, so that a policy that lets one through fails here and not out there."""
    global _is_watching
    _install_once()
    _is_watching = True
    yield
    _is_watching = False


@functools.cache
def _install_once() -> None:
    sys.addaudithook(_hook)  # It cannot be removed again; it leaves other folders' tests alone.


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _is_watching and event in _EVENTS and isinstance(args[-1], tuple):
        host = str(args[-1][0])
        if not ipaddress.ip_address(host).is_loopback:
            raise LeftThisMachine(host)
