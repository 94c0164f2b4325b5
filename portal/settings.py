"""The portal's settings, read once from the environment and checked at start.

Every variable has the prefix `GATEHOUSE_`. A bad value names its variable and stops the start.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
ENV_PREFIX = "GATEHOUSE_"


class SettingsError(SystemExit):
    """A setting is missing or wrong; the text names each variable, exit code 78 (EX_CONFIG)."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(78)

    def __str__(self) -> str:
        return self.text


class Settings(BaseSettings):
    """How this portal runs. Lists are comma separated in the environment."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="ignore")

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
    log_level: str = "INFO"
    embedded_worker: bool = True
    # Alarms by e-mail; without a host they are on the pages only.
    smtp_host: str = ""
    smtp_port: int = Field(default=587, ge=1, le=65535)
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_username: str = ""
    smtp_password: SecretStr = SecretStr("")
    smtp_sender: str = ""
    # Where the newest number and hash of the audit log are also written, so that a cut-off end shows (S85).
    audit_head_file: Path | None = None
    catalogue_lanes: int = Field(default=4, ge=1, le=16)

    @field_validator("outbound_ports", mode="before")
    @classmethod
    def _split_ports(cls, value: Any) -> Any:
        if isinstance(value, str):
            return frozenset({443, *(int(port) for port in value.split(",") if port.strip())})
        return value

    @field_validator("proxy_ports", mode="before")
    @classmethod
    def _split_proxy_ports(cls, value: Any) -> Any:
        if isinstance(value, str):
            return frozenset(int(port) for port in value.split(",") if port.strip())
        return value

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be an address such as https://gatehouse.example.com")
        if parts.path not in {"", "/"}:
            raise ValueError("must not have a path")
        if parts.scheme == "http" and parts.hostname not in LOOPBACK_HOSTS:
            raise ValueError("must use https, unless it is on loopback")
        return value.rstrip("/")

    @field_validator("network_policy")
    @classmethod
    def _check_network_policy(cls, value: str) -> str:
        if value not in {"default", "public"}:
            for network in value.split(","):
                ipaddress.ip_network(network.strip())
        return value

    @model_validator(mode="after")
    def _check_sandbox(self) -> Settings:
        # The sandbox is the one loopback exception of the door; a portal that others can reach must not have it.
        if self.sandbox_origin and urlsplit(self.base_url).hostname not in LOOPBACK_HOSTS:
            raise ValueError("SANDBOX_ORIGIN is only allowed when BASE_URL is on loopback")
        return self

    @classmethod
    def from_environ(cls, **overrides: Any) -> Settings:
        """Read the environment; keyword arguments win over it.

        Raises:
            SettingsError: a value is wrong; its text has one line per variable.
        """
        try:
            return cls(**overrides)
        except ValidationError as error:
            raise SettingsError("\n".join(_lines(error))) from None

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
        """Host with port, exactly as the Host header must be."""
        return urlsplit(self.base_url).netloc


def _lines(error: ValidationError) -> list[str]:
    rows = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        name = ENV_PREFIX + "_".join(str(part) for part in problem["loc"]).upper()
        rows.append(f"{name}: {problem['msg'].removeprefix('Value error, ')}")
    return rows
