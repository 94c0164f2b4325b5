"""Since which version GitLab has what; one table for the whole API."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portal.sandbox.world import World

SINCE: dict[str, tuple[int, int]] = {
    # Endpoints
    "applications": (10, 5),
    "renew_secret": (16, 11),
    "user_applications": (19, 0),
    "metadata": (15, 2),
    "token_self": (15, 5),
    "token_self_delete": (15, 0),
    "token_self_delete_any_scope": (15, 4),
    "token_rotate": (16, 0),
    "token_family": (16, 3),
    "rotated_expiry": (16, 6),
    "token_self_rotate": (16, 10),
    "self_rotate_scope": (17, 9),
    "project_tokens": (13, 9),
    "group_tokens": (14, 7),
    "project_token_self_rotate": (17, 9),
    "fine_grained_tokens": (18, 10),
    "fine_grained_enforcement": (19, 2),
    "granular_applications": (19, 5),
    "tokens_for_oneself": (16, 5),
    "service_accounts": (16, 1),
    "service_account_names": (16, 10),
    "service_accounts_in_ce": (19, 0),
    "project_service_accounts": (19, 0),
    "sudo": (10, 2),
    "read_user_is_enough": (9, 4),
    "personal_token_as_bearer": (12, 2),
    "subgroups": (10, 3),
    "languages": (10, 8),
    "members_all": (11, 2),
    "members_all_one": (12, 4),
    "tokens_for_users": (13, 6),
    "descendant_groups": (13, 5),
    "moved_projects": (16, 7),
    "project_keyset": (12, 7),
    "revoke_expired": (17, 9),
    "narrowed_refresh": (14, 0),
    "read_api": (12, 10),
    # Parameters
    "groups_by_id": (11, 0),
    "min_access_level": (11, 2),
    "with_projects": (11, 2),
    "id_after": (12, 6),
    "last_activity_after": (12, 10),
    "updated_after": (15, 10),
    # Members of answers
    "enterprise": (15, 6),
    "topics": (14, 0),
    "empty_repo": (11, 11),
    "would_be_default_branch": (15, 0),
    "repository_object_format": (16, 9),
    "visibility_in_simple": (17, 0),
    "deletion_for_all_editions": (18, 0),
    "marked_for_deletion_on": (14, 0),
    "readme_url": (11, 0),
    "private_profile": (11, 2),
    "commit_email": (11, 5),
    "public_email": (12, 0),
    "job_title": (12, 9),
    "bot": (13, 4),
    "pronouns": (14, 0),
    "namespace_id": (14, 10),
    "locked": (15, 0),
    "discord": (15, 11),
    "organizations": (17, 0),
    "github": (17, 11),
    "emails_enabled": (16, 5),
    "application_scopes": (18, 0),
    "token_description": (17, 7),
    "granular": (18, 10),
    "last_used_ips": (19, 4),
    "granular_scopes": (19, 6),
    # Limits and names
    "token_expiry_required": (16, 0),
    "token_expiry_optional": (17, 3),
    "longer_token_lifetimes": (17, 6),
    "instance_token_prefix": (17, 10),
    "random_bot_names": (16, 0),
    # Hooks
    "url_variables": (15, 2),
    "branch_filter_strategy": (15, 2),
    "custom_webhook_template": (16, 10),
    "custom_headers": (16, 11),
    "hook_names": (17, 1),
    "signing_token": (19, 0),
    "emoji_events": (16, 2),
    "resource_access_token_events": (16, 10),
    "vulnerability_events": (17, 9),
    "milestone_events": (17, 9),
}


def has(world: World, feature: str) -> bool:
    """Return whether the simulated version has a feature of the table."""
    return world.release >= SINCE[feature]
