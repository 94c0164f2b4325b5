"""What people type into *Domain*, parsed once and rebuilt; only the rebuilt form is used (S47)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass, field

DEFAULT_PORTS = {"https": 443, "http": 80}
MAX_TEXT = 2000
MAX_HOST = 253
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_LABEL = re.compile(r"^(?!-)[a-z0-9_-]{1,63}(?<!-)$")
_PATH = re.compile(r"^(/[A-Za-z0-9._~-]+)*$")
_NUMERIC_LABEL = re.compile(r"^(0x[0-9a-f]*|[0-9]+)$")
# Pages and interfaces that people copy from their address bar along with the address.
_TAILS = re.compile(r"/(?:(?:users/sign_in|api/v4|admin|dashboard|explore)(?:/.*)?|(?:-|oauth)/.*)$")


class AddressRefused(ValueError):
    """What was typed is no address the portal connects to; `code` is stable, `sentence` is for people."""

    def __init__(self, code: str, sentence: str) -> None:
        self.code = code
        self.sentence = sentence
        super().__init__(sentence)


@dataclass(frozen=True)
class Address:
    """Where a GitLab is.

    Attributes:
        path: its sub-path, empty or `/gitlab`, without a trailing slash.
        is_scheme_typed: False when `https` was assumed; no part of what makes two addresses equal.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    is_scheme_typed: bool = field(default=True, compare=False, repr=False)

    @property
    def authority(self) -> str:
        """Host with the port, unless it is the scheme's own; IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port: what a secret is bound to."""
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        """The whole address, without a trailing slash."""
        return self.origin + self.path


def parse_address(text: str, *, allow_http: bool = False, allowed_ports: Collection[int] | None = None) -> Address:
    """Read a host, a URL, a port, a sub-path, or all of it.

    Args:
        text: as typed; `https` is assumed, and the paths of well-known GitLab pages are cut off.
        allow_http: whether plain http may be entered.
        allowed_ports: ports besides which none may be entered; None leaves that to the door.

    Raises:
        AddressRefused: with the reason.
    """
    cleaned = text.strip(" \t\r\n")
    _refuse_odd_characters(cleaned)
    scheme, rest = _split_scheme(cleaned, allow_http)
    authority, slash, path = rest.partition("/")
    host, port_text = _split_port(authority)
    port = _read_port(port_text) if port_text is not None else DEFAULT_PORTS[scheme]
    if allowed_ports is not None and port not in allowed_ports:
        raise AddressRefused("port_not_allowed", f"Port {port} is not one this portal may connect to.")
    typed = _SCHEME.match(cleaned) is not None
    return Address(scheme, _read_host(host), port, _read_path(slash + path), typed)


def origin_of(url: str) -> str:
    """Return scheme, host and port of an address this module made."""
    return parse_address(url, allow_http=True).origin


def _refuse_odd_characters(text: str) -> None:
    if not text:
        raise AddressRefused("empty", "Enter the address of your GitLab, for example gitlab.example.com.")
    if len(text) > MAX_TEXT:
        raise AddressRefused("too_long", "That is too long for an address.")
    if not text.isascii():
        raise AddressRefused("not_ascii", f"Write the name in its ASCII form{_punycode(text)}.")
    if any(character <= " " or character == "\x7f" for character in text):
        raise AddressRefused("blank", "An address has no blanks, tabs or control characters in it.")
    for character, name in (("\\", "backslash"), ("%", "percent sign"), ("#", "fragment (#)"), ("?", "query (?)")):
        if character in text:
            raise AddressRefused("odd_character", f"An address of a GitLab has no {name} in it.")
    if "@" in text:
        raise AddressRefused("user_info", "An address has no user name or @ in it.")


def _punycode(text: str) -> str:
    host = _SCHEME.sub("", text).partition("/")[0].rpartition("@")[2]
    try:
        ascii_form = host.encode("idna").decode()
    except UnicodeError:
        return ""
    # Digits in circles and the like become plain ones: that is a trick to be refused, not a name to be offered.
    return f": {ascii_form}" if "xn--" in ascii_form else ""


def _split_scheme(text: str, allow_http: bool) -> tuple[str, str]:
    match = _SCHEME.match(text)
    scheme = match.group(1).lower() if match else "https"
    if scheme not in DEFAULT_PORTS:
        raise AddressRefused("scheme", "The address must begin with https://.")
    if scheme == "http" and not allow_http:
        raise AddressRefused(
            "http_not_allowed", "Plain http would send secrets in clear. Enter the https address of your GitLab."
        )
    return scheme, text[match.end() :] if match else text


def _split_port(authority: str) -> tuple[str, str | None]:
    if authority.startswith("["):
        host, bracket, rest = authority.partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise AddressRefused("host", "The IPv6 address is not written completely.")
        return host + "]", rest[1:] if rest else None
    if authority.count(":") > 1:
        raise AddressRefused("host", "Write an IPv6 address in brackets: [2001:db8::1].")
    host, colon, port = authority.partition(":")
    return host, port if colon else None


def _read_port(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text) or int(text) > 65535:
        raise AddressRefused("port", "The port must be a number from 1 to 65535.")
    return int(text)


def _read_host(text: str) -> str:
    if text.startswith("["):
        return _read_ipv6(text[1:-1])
    host = text.lower().rstrip(".") if not text.endswith("..") else text
    labels = host.split(".")
    if len(host) > MAX_HOST or not all(_LABEL.match(label) for label in labels):
        raise AddressRefused("host", "That is not a host name. Example: gitlab.example.com.")
    if _NUMERIC_LABEL.match(labels[-1]):
        return _read_ipv4(host)
    return host


def _read_ipv6(text: str) -> str:
    try:
        return ipaddress.IPv6Address(text).compressed
    except ValueError:
        raise AddressRefused("host", "That is not an IPv6 address.") from None


def _read_ipv4(text: str) -> str:
    # Other spellings (2130706433, 0x7f.1, 127.1) mean different hosts to different programs.
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise AddressRefused("numeric_host", "Write an IPv4 address as four numbers: 192.0.2.10.") from None


def _read_path(text: str) -> str:
    path = _TAILS.sub("", text.rstrip("/")).rstrip("/")
    if not _PATH.match(path) or any(part in {".", ".."} for part in path.split("/")):
        raise AddressRefused("path", "The part after the host is not a path such as /gitlab.")
    return path
