"""A tunnel through an HTTP proxy, for both https and plain HTTP.

The proxy is asked for the *checked* IP address, not for the name: otherwise it would resolve the name again, and the
check would be void. Asking it to forward plain HTTP would have the same flaw, so that is tunnelled, too.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from portal.errors import Layer
from portal.net.address import Address, AddressRefused, parse_address, trim_pasted
from portal.net.deadline import current
from portal.net.embedded import IPAddress
from portal.net.errors import ConnectFailed, DeadlinePassed, NameNotResolved, ProxyFailed
from portal.net.policy import NetworkPolicy
from portal.net.resolver import Resolve, resolve_checked
from portal.net.sockets import connect_first

MAX_HEAD_BYTES = 8192


def parse_proxy(text: str) -> Address:
    """Read `host:port` or `http://host:port`.

    Raises:
        AddressRefused: it is neither.
    """
    typed = trim_pasted(text)
    address = parse_address(typed if "://" in typed else f"http://{typed}", allow_http=True)
    if address.scheme != "http" or address.path:
        raise AddressRefused("proxy", "Enter the proxy as host:port, for example proxy.example.com:3128.")
    return address


@dataclass(frozen=True)
class Proxy:
    """A proxy set for a connection; the policy applies to it as to any other target."""

    address: Address
    policy: NetworkPolicy
    resolve: Resolve

    def tunnel(self, targets: list[IPAddress], port: int) -> socket.socket:
        """Return a socket to the first target the proxy reaches.

        Raises:
            ProxyFailed: it reaches none, or is not reached itself. AddressForbidden, DeadlinePassed.
        """
        for target in targets:
            sock = self._connect()
            current().layer = Layer.PROXY
            try:
                if _open_tunnel(sock, target, port):
                    return sock
            except BaseException:
                sock.close()
                raise
            sock.close()
        raise ProxyFailed

    def _connect(self) -> socket.socket:
        policy = self.policy.for_proxy(self.address)
        try:
            return connect_first(resolve_checked(policy, self.address, self.resolve), self.address.port)
        except (NameNotResolved, ConnectFailed):
            raise ProxyFailed from None
        except DeadlinePassed:
            raise DeadlinePassed(Layer.PROXY) from None


def _open_tunnel(sock: socket.socket, target: IPAddress, port: int) -> bool:
    authority = f"[{target}]:{port}" if target.version == 6 else f"{target}:{port}"
    try:
        sock.settimeout(current().left())
        sock.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            sock.settimeout(current().left())
            byte = sock.recv(1)  # One byte at a time: what follows the head belongs to the tunnel.
            head += byte
            if not byte or len(head) > MAX_HEAD_BYTES:
                raise ProxyFailed
    except TimeoutError:
        raise current().passed() from None
    except OSError:
        raise ProxyFailed from None
    words = head.split(b" ", 2)
    return words[0] in {b"HTTP/1.1", b"HTTP/1.0"} and len(words) > 1 and words[1].startswith(b"2")
