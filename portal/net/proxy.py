"""A tunnel through an HTTP proxy, for both https and plain HTTP.

The proxy is asked for the *checked* IP address, not for the name: otherwise it would resolve the name again, and the
check would be void. Asking it to forward plain HTTP would have the same flaw, so that is tunnelled, too. Only where the
policy does not restrict networks, it is asked for the name: if this server cannot resolve it, or if the proxy allows
names alone. What it then connects to is up to the proxy's own rules.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

from portal.errors import Layer
from portal.net.address import Address, AddressRefused, parse_address, trim_pasted
from portal.net.deadline import current
from portal.net.embedded import IPAddress, IPNetwork, is_within, networks
from portal.net.errors import ConnectFailed, DeadlinePassed, NameNotResolved, ProxyFailed
from portal.net.policy import NetworkPolicy
from portal.net.resolver import Resolve, resolve_checked
from portal.net.sockets import connect_first

MAX_HEAD_BYTES = 8192
MAX_EXCEPTIONS = 50
_SUFFIX = re.compile(r"^(\*?\.)?(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$")
_NUMERIC = re.compile(r"^[0-9a-f.:]+(/[0-9]+)?$")
_STATUS = re.compile(rb"^HTTP/1\.[01] ([0-9]{3})[ \r]")
# Also what a proxy says in its own words: RFC 9209 §2.3, and Squid.
_NAME_UNKNOWN = re.compile(rb"(?im)^(?:proxy-status:.*error=\"?dns_(?:error|timeout)|x-squid-error: *ERR_DNS_FAIL)")


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
class ProxyExceptions:
    """The hosts that are reached without the proxy: names, with everything below those that begin with a dot, and
    networks.
    """

    names: tuple[str, ...] = ()
    networks: tuple[IPNetwork, ...] = ()

    @classmethod
    def parse(cls, text: str) -> ProxyExceptions:
        """Read host names, `.example.com`, addresses and networks, between commas or blanks.

        Raises:
            AddressRefused: one is none of these.
        """
        typed = [word.lower() for word in re.split(r"[\s,;]+", text) if word]
        names = [word for word in typed if not _NUMERIC.match(word)]
        refused = [word for word in names if not _SUFFIX.match(word)]
        try:
            found = networks(tuple(word for word in typed if word not in names))
        except ValueError:
            refused = typed
        if refused or len(typed) > MAX_EXCEPTIONS:
            sentence = "Enter host names, domains such as .example.com, or networks such as 10.0.0.0/8, between commas."
            raise AddressRefused("proxy_exceptions", sentence)
        return cls(tuple(name.removeprefix("*") for name in names), found)

    def has(self, host: str, found: list[IPAddress]) -> bool:
        """Return whether a host, or all of its addresses, are reached without the proxy."""
        if any(host == name or (name.startswith(".") and f".{host}".endswith(name)) for name in self.names):
            return True
        return bool(found) and all(is_within(ip, self.networks) for ip in found)


@dataclass(frozen=True)
class Proxy:
    """A proxy set for a connection; the policy applies to it as to any other target."""

    address: Address
    policy: NetworkPolicy
    resolve: Resolve

    def tunnel(self, targets: list[IPAddress], address: Address) -> socket.socket:
        """Return a socket to the first target the proxy reaches.

        Raises:
            ProxyFailed: it reaches none, or is not reached itself. AddressForbidden, DeadlinePassed.
        """
        hosts = [f"[{target}]" if target.version == 6 else str(target) for target in targets]
        failure = ProxyFailed("name")
        for host in hosts:
            opened = self._ask(host, address.port)
            if not isinstance(opened, ProxyFailed):
                return opened
            failure = opened
        if self.policy.leaves_names_to_proxy and (not hosts or failure.case == "denied"):
            opened = self._ask(address.host, address.port)
            if not isinstance(opened, ProxyFailed):
                return opened
            failure = opened
        raise failure

    def _ask(self, host: str, port: int) -> socket.socket | ProxyFailed:
        """Return a tunnel, or why the proxy opens none to this host."""
        policy = self.policy.for_proxy(self.address)
        try:
            sock = connect_first(resolve_checked(policy, self.address, self.resolve), self.address.port)
        except (NameNotResolved, ConnectFailed):
            raise ProxyFailed("unreachable") from None
        except DeadlinePassed:
            raise DeadlinePassed(Layer.PROXY) from None
        current().layer = Layer.PROXY
        try:
            head = _connect(sock, f"{host}:{port}")
            status = int(found.group(1)) if (found := _STATUS.match(head)) else 0
            if 200 <= status < 300:
                return sock
            sock.close()
            if status == 407:
                raise ProxyFailed("authentication")
            if status == 0 or 300 <= status < 400:
                raise ProxyFailed("not_a_proxy")
            return ProxyFailed("denied" if status < 500 else "name" if _NAME_UNKNOWN.search(head) else "target")
        except BaseException:
            sock.close()
            raise


def _connect(sock: socket.socket, authority: str) -> bytes:
    """Send CONNECT and return the head of the answer."""
    try:
        sock.settimeout(current().left())
        sock.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            sock.settimeout(current().left())
            byte = sock.recv(1)  # One byte at a time: what follows the head belongs to the tunnel.
            head += byte
            if not byte or len(head) > MAX_HEAD_BYTES:
                raise ProxyFailed("not_a_proxy")
    except TimeoutError:
        raise current().passed() from None
    except OSError:
        raise ProxyFailed("not_a_proxy") from None
    return head
