"""What people type into *Domain*, parsed once and rebuilt; only the rebuilt form is used (S47)."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, field

import idna

DEFAULT_PORTS = {"https": 443, "http": 80}
MAX_TEXT = 2000
MAX_HOST = 253
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
# One slash too few or too many, and a scheme pasted before an address that has one.
_SLASHES = re.compile(r"^(https?):(?:/|///+)(?!/)", re.IGNORECASE)
_NO_SLASHES = re.compile(r"^https?:(?![0-9/])", re.IGNORECASE)
_TWICE = re.compile(r"^(https?://)(?=\1)", re.IGNORECASE)
_LABEL = re.compile(r"^(?!-)[a-z0-9_-]{1,63}(?<!-)$")
_PATH = re.compile(r"^(/[A-Za-z0-9._~-]+)*$")
_NUMERIC_LABEL = re.compile(r"^(0x[0-9a-f]*|[0-9]+)$")
# Pages and endpoints that people copy from their address bar along with the address.
_TAILS = re.compile(
    r"/(?:(?:users/(?:sign_in|sign_up|password|auth)|api/v4|admin|dashboard|explore)(?:/.*)?|(?:-|oauth)/.*)$"
)
# Scripts whose letters look like Latin ones: mixed with those, they make a name look like another (UTS 39).
_LOOKALIKES = {"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU"}

# Invisible letters and marks that are not format characters.
_EMPTY = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
_AROUND = {'"': '"', "'": "'", "`": "`", "<": ">", "“": "”", "„": "“", "‘": "’", "«": "»"}


class AddressRefused(ValueError):
    """What was typed is not an address the portal connects to; `code` is stable, `sentence` is for people."""

    def __init__(self, code: str, sentence: str) -> None:
        self.code = code
        self.sentence = sentence
        super().__init__(sentence)


@dataclass(frozen=True)
class Address:
    """Where a GitLab is.

    Attributes:
        path: its sub-path, empty or `/gitlab`, without a trailing slash.
        is_scheme_typed: False if `https` was assumed; ignored when comparing addresses.
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
        allow_http: whether plain HTTP may be entered.
        allowed_ports: the only ports that may be entered; None leaves that to the outbound client.

    Raises:
        AddressRefused: with the reason.
    """
    cleaned = _without_what_was_pasted_along(text)
    _refuse_odd_characters(cleaned)
    scheme, rest = _split_scheme(cleaned, allow_http)
    authority, slash, path = rest.partition("/")
    host, port_text = _split_port(authority)
    if port_text is not None and (not re.fullmatch(r"[1-9][0-9]{0,4}", port_text) or int(port_text) > 65535):
        raise AddressRefused("port", "The port must be a number from 1 to 65535.")
    port = DEFAULT_PORTS[scheme] if port_text is None else int(port_text)
    if allowed_ports is not None and port not in allowed_ports:
        raise AddressRefused("port_not_allowed", f"Port {port} is not one this portal may connect to.")
    host = _read_host(host)
    path = _TAILS.sub("", (slash + path).rstrip("/")).rstrip("/")
    if not _PATH.match(path) or any(part in {".", ".."} for part in path.split("/")):
        raise AddressRefused("path", "The part after the host is not a path such as /gitlab.")
    return Address(scheme, host, port, path, is_scheme_typed=_SCHEME.match(cleaned) is not None)


def is_same_address(one: str, other: str) -> bool:
    """Return whether two addresses are the same: capitals, the scheme's own port and a last slash do not count."""
    try:
        return parse_address(one, allow_http=True) == parse_address(other, allow_http=True)
    except AddressRefused:
        return False


def origin_of(url: str) -> str:
    """Return scheme, host and port of an address this module made."""
    return parse_address(url, allow_http=True).origin


def _without_what_was_pasted_along(text: str) -> str:
    """Cut what does not belong to an address: blanks, quotes, a doubled scheme, the query after a known page."""
    cleaned = unquote(trim_pasted(text[: MAX_TEXT + 1]))
    cleaned = _TWICE.sub("", _SLASHES.sub(r"\1://", cleaned))
    before, _, behind = cleaned.partition("#")
    page, _, question = before.partition("?")
    # For any other page it is unknown whether it is at the root of a GitLab.
    if "@" not in cleaned and "\\" not in page and (_TAILS.search(page.rstrip("/")) or not (behind or question)):
        return page
    return cleaned


def _refuse_odd_characters(text: str) -> None:
    if not text:
        raise AddressRefused("empty", "Enter the address of your GitLab, for example gitlab.example.com.")
    if len(text) > MAX_TEXT:
        raise AddressRefused("too_long", "That is too long for an address.")
    if not text.isascii():
        raise _foreign_letters(text)
    if any(character <= " " or character == "\x7f" for character in text):
        raise AddressRefused("blank", "An address has no blanks, tabs or control characters in it.")
    for character, name in (("\\", "backslash"), ("%", "percent sign"), ("#", "fragment (#)"), ("?", "query (?)")):
        if character in text:
            raise AddressRefused("odd_character", f"An address of a GitLab has no {name} in it.")
    if "@" in text:
        raise AddressRefused("user_info", "An address has no user name or @ in it.")


def _foreign_letters(text: str) -> AddressRefused:
    """Return why letters beyond ASCII are refused, with the form browsers use if there is exactly one."""
    rest = _SCHEME.sub("", text)
    host = rest.partition("/")[0].rpartition("@")[2].partition(":")[0]
    if ascii_form := ascii_form_of(host):
        return AddressRefused("not_ascii", f"Write the name in its ASCII form: {ascii_form}.")
    if told := find_invisible(text):
        return AddressRefused("invisible", f"{told} Delete it, or type the address.")
    if letter := _lookalike_in(host):
        name = unicodedata.name(letter, "").capitalize()
        sentence = f"“{letter}” ({name}) only looks like a Latin letter. Type the name, and check whose it is."
        return AddressRefused("lookalike", sentence)
    if host.isascii():
        return AddressRefused(
            "not_ascii", "The part after the host contains letters that never occur in a GitLab address."
        )
    return AddressRefused("not_ascii", "Write the name with plain letters and digits, or in its ASCII form (xn--…).")


def ascii_form_of(host: str) -> str:
    """Return what browsers make of a host name (UTS 46, IDNA 2008, non-transitional); empty if that is not certain.

    It is not certain if the mapping changes more than case: circled digits or wide letters would become plain ones,
        which is a trick to refuse, not a name to offer.
    """
    plain = unicodedata.normalize("NFC", host.lower())
    if any(not letter.isascii() and letter.lower().isascii() for letter in host):
        return ""  # The kelvin sign is not a k.
    try:
        if host.isascii() or idna.uts46_remap(plain, std3_rules=True, transitional=False) != plain:
            return ""
        ascii_form = idna.encode(plain, strict=True).decode()
    except (idna.IDNAError, UnicodeError):
        return ""
    return "" if _lookalike_in(plain) else ascii_form


def _lookalike_in(host: str) -> str:
    """Return the first letter of another script that passes for Latin, in a label that has Latin letters as well."""
    for label in host.split("."):
        scripts = [(letter, unicodedata.name(letter, "").split(" ")[0]) for letter in label if letter.isalpha()]
        if any(script == "LATIN" for _, script in scripts):
            found = [letter for letter, script in scripts if script in _LOOKALIKES]
            if found:
                return found[0]
    return ""


def _split_scheme(text: str, allow_http: bool) -> tuple[str, str]:
    match = _SCHEME.match(text)
    if _NO_SLASHES.match(text):
        raise AddressRefused("scheme", "Two slashes are missing after the colon: https://gitlab.example.com.")
    scheme = match.group(1).lower() if match else "https"
    rest = text[match.end() :] if match else text
    if scheme not in DEFAULT_PORTS or _SCHEME.match(rest):
        raise AddressRefused("scheme", "The address must begin with https://.")
    if scheme == "http" and not allow_http:
        raise AddressRefused(
            "http_not_allowed", "Plain HTTP would send secrets unencrypted. Enter the https address of your GitLab."
        )
    return scheme, rest


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


def _read_host(text: str) -> str:
    if text.startswith("["):
        try:
            return ipaddress.IPv6Address(text[1:-1]).compressed
        except ValueError:
            raise AddressRefused("host", "That is not an IPv6 address.") from None
    host = text.lower().rstrip(".") if not text.endswith("..") else text
    labels = host.split(".")
    if len(host) > MAX_HOST or not all(_LABEL.match(label) for label in labels):
        raise AddressRefused("host", "That is not a host name. Example: gitlab.example.com.")
    if _NUMERIC_LABEL.match(labels[-1]):
        # Other spellings (2130706433, 0x7f.1, 127.1) mean different hosts to different programs.
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise AddressRefused("numeric_host", "Write an IPv4 address as four numbers: 192.0.2.10.") from None
    return host


def trim_pasted(text: str) -> str:
    """Return the text without blanks and invisible characters at both ends."""
    start, end = 0, len(text)
    while start < end and _shows_nothing(text[start]):
        start += 1
    while end > start and _shows_nothing(text[end - 1]):
        end -= 1
    return text[start:end]


def unquote(text: str) -> str:
    """Return the text without one pair of quotes or angle brackets around it."""
    if len(text) > 1 and _AROUND.get(text[0]) == text[-1]:
        return trim_pasted(text[1:-1])
    return text


def find_invisible(text: str) -> str:
    """Say where the first invisible non-ASCII character is and which one it is; empty if there is none."""
    for position, character in enumerate(text):
        if _shows_nothing(character) and not character.isascii():
            where = f"after “{text[max(position - 10, 0) : position]}”" if position else "at the beginning"
            return f"There is an invisible character (U+{ord(character):04X}) {where}."
    return ""


def _shows_nothing(character: str) -> bool:
    return character in "\t\n\r" or unicodedata.category(character) in {"Cf", "Zs", "Zl", "Zp"} or character in _EMPTY
