"""Take the ports a start needs before anything else happens, so that only this portal answers there.

The sockets are handed to the child processes. A port that is taken stops the start with one sentence; leftover
processes of a killed start are ended first.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from portal.settings import SettingsError

# In the environment of every child: process id and start time of the `gatehouse serve` it belongs to.
SUPERVISOR_VARIABLE = "_GATEHOUSE_SUPERVISOR"
BACKLOG = 2048
LEFTOVER_SECONDS = 30
LISTENING = "0A"
START_TIME_FIELD = 19  # Of /proc/PID/stat, counted after the program's name.


Listener = socket.socket


@dataclass(frozen=True)
class Endpoint:
    """Where something listens: a host name or address, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read `host:port`; IPv6 in brackets.

        Raises:
            SettingsError: it has another form.
        """
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
        if not colon or not port.isdecimal() or int(port) > 65535 or (":" in host) != ("[" in text):
            raise SettingsError(f'--bind is "{text}": it must be host:port, such as 127.0.0.1:8000 or [::1]:8000.')
        return cls(host, int(port))


def take_port(endpoint: Endpoint, purpose: str, remedy: str) -> list[Listener]:
    """Listen at every address of a host; `localhost` is both loopback addresses, because browsers try either.

    Args:
        endpoint: where.
        purpose: who needs the port, as "the portal".
        remedy: how to choose another port, as the end of a sentence; `{port}` in it becomes one that is free.

    Raises:
        SettingsError: the port is taken, or this user or machine cannot listen there.
    """
    end = time.monotonic() + LEFTOVER_SECONDS
    while True:
        try:
            return _listen(endpoint)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                reason = error.strerror or str(error)
                if error.errno == errno.EACCES:
                    reason = (
                        "this user may not; ports below 1024 need a privilege, "
                        "so put a reverse proxy in front or choose another"
                    )
                elif error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
                    reason = (
                        "that is not an address of this machine; "
                        "say where to listen with --bind, such as --bind 127.0.0.1:8000"
                    )
                at = f"{endpoint.host}, port {endpoint.port}"
                raise SettingsError(f"{purpose.capitalize()} cannot listen at {at}: {reason}.") from None
        holders = _holders(endpoint.port)
        # Children of a `gatehouse serve` that is gone.
        marks = [_mark_of(pid).partition(" ") for pid in holders if pid != os.getpid()]
        gone = [parent for parent, _, started in marks if parent and _start_time(int(parent)) != started]
        if not holders or len(gone) < len(holders) or time.monotonic() > end:
            raise SettingsError(_taken(endpoint, purpose, holders, remedy))
        for pid in holders:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        time.sleep(0.1)


def own_mark() -> str:
    """Return the marker of this process's children."""
    return f"{os.getpid()} {_start_time(os.getpid())}"


def _listen(endpoint: Endpoint) -> list[Listener]:
    host = {"localhost": ("127.0.0.1", "::1"), "": ("0.0.0.0",)}.get(endpoint.host, (endpoint.host,))  # noqa: S104 - asked for
    with ExitStack() as opened:
        sockets = []
        for name in host:
            if name == "::1" and len(host) > 1:
                try:
                    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
                        probe.bind((name, 0))
                except OSError:
                    continue  # This machine has no IPv6.
            found = socket.getaddrinfo(name, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, address in dict.fromkeys((family, address[:2]) for family, _, _, _, address in found):
                listener = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
                listener.listen(BACKLOG)
                sockets.append(listener)
        opened.pop_all()
    return sockets


def _taken(endpoint: Endpoint, purpose: str, holders: list[int], remedy: str) -> str:
    marks = [mark for pid in holders if (mark := _mark_of(pid))]
    if holders == [os.getpid()]:
        who = "this portal itself"
    elif marks:
        who = f"a portal that is already running (process {marks[0].split()[0]})"
    elif holders:
        name = "unknown"
        with suppress(OSError):
            name = Path(f"/proc/{holders[0]}/comm").read_text().strip()
        who = f"another program ({name}, process {holders[0]})"
    else:
        who = "another program"
    free, port = 0, endpoint.port
    for candidate in chain(range(port + 1, min(port + 100, 65536)), range(8000, 9000)):
        with suppress(OSError), socket.create_server(("127.0.0.1", candidate)):
            free = candidate
            break
    other = remedy.format(port=free or port + 1)
    return f"Port {port}, which {purpose} needs, is taken by {who}. Stop it, or {other}."


def _holders(port: int) -> list[int]:
    """Return the processes that listen on a port, as far as this user may see them; none where there is no /proc."""
    inodes, found = set(), set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return []
    with suppress(OSError):
        for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
            with suppress(OSError):
                for entry in os.scandir(f"/proc/{pid}/fd"):
                    with suppress(OSError):
                        if os.readlink(entry.path) in inodes:
                            found.add(pid)
    return sorted(found)


def _mark_of(pid: int) -> str:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            name, _, value = line.partition(b"=")
            if name == SUPERVISOR_VARIABLE.encode() and value.replace(b" ", b"").isdigit():
                return value.decode()
    return ""


def _start_time(pid: int) -> str:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        # A zombie is a process that has ended and that its parent has not reaped yet.
        return "" if fields[0] == "Z" else fields[START_TIME_FIELD]
    return ""
