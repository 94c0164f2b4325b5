"""The request behind a check, as a command that anyone can run: with a variable in place of the token."""

from __future__ import annotations

import shlex

from portal.connections.models import Connection
from portal.health.findings import REACH

CA_FILE = "gitlab-ca.pem"
_VERSION = "/api/v4/version"
_PROJECTS = "/api/v4/projects?membership=true&per_page=1&simple=true"
# Nothing that spends a credential that cannot be renewed may be reproduced: only the token is sent to GitLab.
_WITH_TOKEN = {
    "version": "/api/v4/metadata",
    "credential": "/api/v4/user",
    "token": "/api/v4/user",
    "user": "/api/v4/user",
    "scopes": "/oauth/token/info",
    "git": _PROJECTS,
    "work": _PROJECTS,
}
_WITHOUT_TOKEN = {
    "name": _VERSION,
    "port": _VERSION,
    "certificate": _VERSION,
    "gitlab": _VERSION,
    "clock": _VERSION,
    "external_url": "/.well-known/openid-configuration",
    REACH: _VERSION,
}
_BELOW_HTTP = frozenset({"name", "port", "certificate", REACH})


def curl_for(connection: Connection, check_key: str) -> str:
    """Return the command for one check; empty if it makes no request of its own."""
    path = _WITH_TOKEN.get(check_key) or _WITHOUT_TOKEN.get(check_key)
    if path is None or not connection.api_url:
        return ""
    words = ["curl", "--verbose" if check_key in _BELOW_HTTP else "--include", "--max-time", "10"]
    if connection.ca_certificate:
        words += ["--cacert", CA_FILE]
    # As the door does: the proxy that is set, through a tunnel, or none, whatever the environment says.
    words += ["--proxytunnel", "--proxy", connection.proxy] if connection.proxy else ["--noproxy", "*"]
    command = shlex.join(words)
    if check_key in _WITH_TOKEN:
        command += ' --header "Authorization: Bearer $TOKEN"'
    return f"{command} {shlex.quote(connection.api_url + path)}"
