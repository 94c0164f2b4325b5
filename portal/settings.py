"""The portal's settings, read once from the environment and checked at start.

Every variable has the prefix `GATEHOUSE_`. A bad value is one sentence that names its variable, and stops the start;
so does an unknown name, because a misspelt variable would otherwise do nothing.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

EXIT_CONFIG = 78
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
ENV_PREFIX = "GATEHOUSE_"
# Read elsewhere: the key ring, and what tests set.
OTHER_NAMES = ("KEYS", "CRASH_AT")
TEST_PREFIX = "TEST_"
# Kubernetes puts these into every container beside a service that is named `gatehouse` or `gatehouse-…`.
SERVICE_LINK = re.compile(
    r"(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)
SERVICE_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://")
DEFAULT_PORTS = {"http": 80, "https": 443}
POSTGRESQL_SCHEMES = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
SENDER = re.compile(r"[^@\s<>]+@[^@\s<>]+")
MAX_ECHO = 80
# Their values are secret or hold a password.
NEVER_ECHOED = frozenset({"database_url", "smtp_password", "smtp_username"})


class SettingsError(SystemExit):
    """A setting, or what it refers to, is missing or wrong; one sentence per variable, exit code 78 (EX_CONFIG)."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(EXIT_CONFIG)

    def __str__(self) -> str:
        return self.text


class Settings(BaseSettings):
    """How this portal runs. Lists are comma separated in the environment, and an empty value counts as not set."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    base_url: str = "http://127.0.0.1:8000"
    data_dir: Path = Path("var")
    database_url: str = ""
    key_file: Path | None = None
    network_policy: str = "default"
    outbound_ports: Annotated[frozenset[int], NoDecode] = frozenset({443})
    # Where an HTTP proxy may listen; people enter its address for a connection.
    proxy_ports: Annotated[frozenset[int], NoDecode] = frozenset({3128, 8080})
    allow_http: bool = False
    sandbox_origin: str | None = None
    trusted_proxy_hops: int = Field(default=0, ge=0, le=5)
    session_idle_minutes: int = Field(default=30, ge=1, le=1440)
    session_absolute_hours: int = Field(default=12, ge=1, le=168)
    plan: str = "enterprise"
    support_contact: str = ""
    documentation_url: str = ""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    embedded_worker: bool = True
    # Alarms by e-mail; without a host they are only on the pages.
    smtp_host: str = ""
    smtp_port: int = Field(default=587, ge=1, le=65535)
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_username: str = ""
    smtp_password: SecretStr = SecretStr("")
    smtp_sender: str = ""
    # Where the newest number and hash of the audit log are also written, so that missing events at the end are noticed
    # (S85).
    audit_head_file: Path | None = None
    access_log_days: int = Field(default=90, ge=1, le=3650)
    catalogue_lanes: int = Field(default=4, ge=1, le=16)
    # How often every webhook is compared with what GitLab has.
    hook_compare_minutes: int = Field(default=60, ge=5, le=1440)
    # How often everything is read again, and what GitLab has updated (15.10).
    catalogue_complete_hours: int = Field(default=24, ge=1, le=720)
    catalogue_updates_minutes: int = Field(default=15, ge=1, le=1440)
    # How often commits, merge requests and issues are read again for reports.
    activity_minutes: int = Field(default=10, ge=1, le=1440)
    # How long it is known what webhooks delivered.
    delivery_days: int = Field(default=30, ge=1, le=365)
    # If a read no longer sees so much of what was there, someone is asked before anything is marked as gone.
    catalogue_loss_percent: int = Field(default=20, ge=1, le=100)

    @field_validator("*", mode="before")
    @classmethod
    def _strip(cls, value: Any) -> Any:
        # A file of variables that was written on Windows leaves a carriage return at each end.
        return value.strip() if isinstance(value, str) else value

    @field_validator("base_url")
    @classmethod
    def _read_base_url(cls, value: str) -> str:
        parts = _split_origin(value)
        if parts.path not in {"", "/"}:
            raise ValueError(
                "the portal does not run below a sub-path; give it its own host name, such as "
                "{parts.scheme}://gatehouse.example.com"
            )
        origin = _origin(parts)
        if parts.scheme == "http" and urlsplit(origin).hostname not in LOOPBACK_HOSTS:
            raise ValueError("it must begin with https://, unless the host is on loopback")
        return origin

    @field_validator("database_url")
    @classmethod
    def _read_database_url(cls, value: str) -> str:
        if not value:
            return value
        try:
            url = make_url(value)
        except (ArgumentError, ValueError):
            raise ValueError(
                "it is not an address such as postgresql://gatehouse:PASSWORD@db.example.com:5432/gatehouse; "
                "in the password, write @ as %40, / as %2F and : as %3A"
            ) from None
        if url.drivername == "sqlite":
            if not url.database or url.database == ":memory:":
                raise ValueError(
                    "it does not name a file; SQLite needs one, such as sqlite:////var/lib/gatehouse/gatehouse.db"
                )
            return value
        if url.drivername not in POSTGRESQL_SCHEMES:
            raise ValueError(f"{url.drivername} is not a database this portal runs on; use postgresql:// or sqlite:///")
        if not 0 < (url.port or 1) <= 65535:
            raise ValueError("the port must be a number from 1 to 65535")
        if not url.database:
            raise ValueError(
                "it does not name a database; put its name at the end, as in postgresql://db.example.com/gatehouse"
            )
        return url.set(drivername="postgresql").render_as_string(hide_password=False)

    @field_validator("network_policy")
    @classmethod
    def _read_network_policy(cls, value: str) -> str:
        if value in {"default", "public"}:
            return value
        return ",".join(_read_network(text) for text in _items(value))

    @field_validator("outbound_ports", "proxy_ports", mode="before")
    @classmethod
    def _read_ports(cls, value: Any) -> Any:
        return frozenset(_read_port(text) for text in _items(value)) if isinstance(value, str) else value

    @field_validator("outbound_ports")
    @classmethod
    def _keep_https(cls, value: frozenset[int]) -> frozenset[int]:
        return value | {443}

    @field_validator("sandbox_origin")
    @classmethod
    def _read_sandbox_origin(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = _split_origin(value)
        if urlsplit(_origin(parts)).hostname not in LOOPBACK_HOSTS or parts.path not in {"", "/"}:
            raise ValueError("the sandbox can only be reached on loopback, such as http://localhost:8929")
        return _origin(parts)

    @field_validator("plan")
    @classmethod
    def _check_plan(cls, value: str) -> str:
        if value != "enterprise" and difflib.get_close_matches(value.lower(), ["enterprise"]):
            raise ValueError('did you mean "enterprise"')
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _raise_level(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("smtp_security", mode="before")
    @classmethod
    def _lower_security(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("support_contact", "smtp_host", "smtp_username")
    @classmethod
    def _check_line(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("it must be one line without control characters")
        return value

    @field_validator("smtp_host")
    @classmethod
    def _check_host(cls, value: str) -> str:
        if value and not _is_host(value.lower()):
            raise ValueError("it must be a host name such as mail.example.com; the port has its own variable")
        return value

    @field_validator("documentation_url")
    @classmethod
    def _check_documentation_url(cls, value: str) -> str:
        if value and (not value.isprintable() or " " in value or urlsplit(value).scheme not in DEFAULT_PORTS):
            raise ValueError("it must be an address that begins with https:// or http://")
        return value

    @field_validator("smtp_sender")
    @classmethod
    def _check_sender(cls, value: str) -> str:
        if value and not SENDER.fullmatch(value):
            raise ValueError("it must be an e-mail address such as gatehouse@example.com")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> Settings:
        # The sandbox is the only allowed loopback address; a portal that others can reach must not have it.
        if self.sandbox_origin and urlsplit(self.base_url).hostname not in LOOPBACK_HOSTS:
            raise ValueError("GATEHOUSE_SANDBOX_ORIGIN is only allowed when GATEHOUSE_BASE_URL is on loopback.")
        if bool(self.smtp_username) != bool(self.smtp_password.get_secret_value()):
            raise ValueError(
                "GATEHOUSE_SMTP_USERNAME and GATEHOUSE_SMTP_PASSWORD belong together: set both or neither."
            )
        if self.smtp_username and self.smtp_security == "none" and self.smtp_host.lower() not in LOOPBACK_HOSTS:
            raise ValueError(
                "GATEHOUSE_SMTP_SECURITY=none would send GATEHOUSE_SMTP_PASSWORD unencrypted. Use starttls or tls; "
                "without encryption a password is only sent to a mail server on this machine."
            )
        return self

    @classmethod
    def from_environ(cls, **overrides: Any) -> Settings:
        """Read the environment; keyword arguments take precedence.

        Raises:
            SettingsError: a value is wrong or a name is unknown; its text has one line per variable.
        """
        lines = list(_unknown_names(os.environ, cls.model_fields))
        try:
            settings = cls(**overrides)
        except ValidationError as error:
            lines = [*_lines(error, cls.model_fields), *lines]
        if lines:
            raise SettingsError("\n".join(lines))
        return settings

    @property
    def resolved_database_url(self) -> str:
        """The database as SQLAlchemy wants it; SQLite in the data folder when none is set."""
        url = self.database_url or f"sqlite:///{self.data_dir.resolve() / 'gatehouse.db'}"
        return url.replace("postgresql://", "postgresql+psycopg://", 1)

    @property
    def resolved_key_file(self) -> Path:
        """Where the vault's key ring is."""
        return self.key_file or self.data_dir / "keys.json"

    @property
    def is_https(self) -> bool:
        """Whether browsers reach the portal over https, which decides cookie names and HSTS."""
        return self.base_url.startswith("https:")

    @property
    def host(self) -> str:
        """Host as browsers write it in the Host header: with the port, unless it is the scheme's own."""
        return urlsplit(self.base_url).netloc

    @property
    def hosts(self) -> frozenset[str]:
        """Every form of it: a client or proxy may add the scheme's own port (RFC 9110, 4.2.3)."""
        parts = urlsplit(self.base_url)
        return frozenset({self.host, self.host if parts.port else f"{self.host}:{DEFAULT_PORTS[parts.scheme]}"})


def _split_origin(text: str) -> SplitResult:
    example = "it must be an address such as https://gatehouse.example.com"
    try:
        parts = urlsplit(text)
        hostname = parts.hostname
    except ValueError:
        raise ValueError(example) from None
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0 and parts.scheme in DEFAULT_PORTS:
        raise ValueError("the port must be a number from 1 to 65535")
    if parts.scheme not in DEFAULT_PORTS or not hostname or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(example)
    if not hostname.isascii():
        raise ValueError("write the host name in its ASCII form (xn--…)")
    if not _is_host(hostname):
        raise ValueError(example)
    return parts


def _origin(parts: SplitResult) -> str:
    """Write scheme, host and port as browsers do: small letters, and no port that is the scheme's own (RFC 6454)."""
    hostname = (parts.hostname or "").rstrip(".")
    host = f"[{ipaddress.IPv6Address(hostname).compressed}]" if ":" in hostname else hostname
    port = "" if parts.port in {None, DEFAULT_PORTS[parts.scheme]} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _is_host(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return HOST.fullmatch(text.rstrip(".")) is not None
    return True


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _read_port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= 65535):
        raise ValueError(f'"{text[:MAX_ECHO]}" is not a port; write numbers from 1 to 65535, separated by commas')
    return int(text)


def _read_network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f'"{text[:MAX_ECHO]}" is not a network; write default, public, or networks such as 10.20.0.0/16'
        ) from None
    raise ValueError(f'"{text}" is an address within a network; did you mean {meant}')


def _unknown_names(environment: Mapping[str, str], fields: Mapping[str, FieldInfo]) -> Iterator[str]:
    known = [*(name.upper() for name in fields), *OTHER_NAMES]
    for name in sorted(environment):
        rest = name.upper().removeprefix(ENV_PREFIX)
        if not name.upper().startswith(ENV_PREFIX) or rest in known or rest.startswith(TEST_PREFIX):
            continue
        is_bare_port = rest.endswith("PORT") and not SERVICE_ADDRESS.match(environment[name])
        if SERVICE_LINK.fullmatch(rest) and not is_bare_port:
            continue
        nearest = difflib.get_close_matches(rest, known, n=1)
        meant = f"; did you mean {ENV_PREFIX}{nearest[0]}?" if nearest else "; docs/operation.md lists all settings."
        yield f"{name} is not a setting{meant}"


def _lines(error: ValidationError, fields: Mapping[str, FieldInfo]) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        reason = problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:
            yield reason
            continue
        name = str(problem["loc"][0])
        if problem["type"] != "value_error":
            reason = _expected(fields[name])
        given = problem["input"]
        echo = ""
        if isinstance(given, str) and name not in NEVER_ECHOED:
            shown = "".join(character if character.isprintable() else "?" for character in given[:MAX_ECHO])
            echo = f' is "{shown}"'
        end = "?" if "did you mean" in reason else "."
        yield f"{ENV_PREFIX}{name.upper()}{echo}: {reason}{end}"


def _expected(field: FieldInfo) -> str:
    """Say what a value of this type looks like."""
    if field.annotation is bool:
        return "it must be true or false"
    if choices := [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]:
        return f"it must be {', '.join(choices[:-1])} or {choices[-1]}"
    limits = {name: getattr(item, name) for item in field.metadata for name in ("ge", "le") if hasattr(item, name)}
    if limits:
        return f"it must be a whole number from {limits['ge']} to {limits['le']}"
    return "it cannot be read"
