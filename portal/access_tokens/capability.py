"""What linking by an access token brings to the portal."""

from __future__ import annotations

from portal.capability import Capability

CAPABILITY = Capability(
    name="access_tokens",
    views="portal.access_tokens.views",
    stylesheets=("access-tokens",),
    actions={"access_token.tested": "had GitLab check an access token for {object}"},
)
