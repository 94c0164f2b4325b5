"""Events as people read them: what someone did, worded to follow their name."""

from __future__ import annotations

from portal.audit.models import AuditEvent

# Completed by the event's fields: `{object}` is what it was done to, other names are from its details.
SENTENCES = {
    "access.refused": "was refused {object}",
    "application.checked": "had GitLab check the Application ID and Secret of {object}",
    "application.saved": "stored the Application ID and Secret of {object}",
    "audit.exported": "exported the audit log",
    "audit.verify_requested": "started a verification of the audit log",
    "authorization.failed": "tried to authorize {object}, and GitLab gave no token",
    "authorization.refused": "tried to authorize {object} and was refused",
    "authorization.started": "started to authorize {object}",
    "catalogue.read_requested": "had the repositories of {object} read again",
    "connection.authorized": "authorized {object} as @{gitlab_username}",
    "connection.created": "started to connect {object}",
    "connection.discarded": "discarded the draft {object}",
    "connection.disconnected": "disconnected {object}",
    "connection.erased": "erased {object}",
    "connection.erasure_requested": "asked for {object} to be erased",
    "connection.instance_changed": "changed how {object} is reached",
    "connection.readable": "can read the secrets of {object} again",
    "connection.renamed": "renamed {old} to {object}",
    "connection.revocation_tried_again": "had GitLab asked again to revoke the token of {object}",
    "connection.service_user_changed": "changed the service user of {object} to @{new}",
    "connection.services_changed": "changed what {object} is used for",
    "connection.unreadable": "can no longer read the secrets of {object}",
    "credential.lost": "lost the access token of {object}: GitLab's answer never arrived",
    "credential.refreshed": "renewed the access token of {object}",
    "credential.revoked": "learned that GitLab ended the authorization of {object}",
    "credential.secret_changed": "found that GitLab refuses the Secret of {object}",
    "credential.unreadable": "can no longer read the access token of {object}",
    "health.check_requested": "had {object} checked",
    "incident.closed": "saw that {object} works again",
    "incident.opened": "noticed a problem with {object}",
    "job.stop": "stopped the job {object}",
    "key.added": "added an encryption key",
    "key.dropped": "dropped an encryption key",
    "key.put_back": "put an encryption key back",
    "key.rotated": "rotated the encryption key",
    "member.group_granted": "gave {object} the group {path}",
    "member.group_revoked": "took the group {path} from {object}",
    "member.invitation_refused": "was refused an invitation link",
    "member.invitation_withdrawn": "withdrew the invitation of {object}",
    "member.invited": "invited {object}",
    "member.joined": "joined",
    "member.removed": "removed {object}",
    "member.role_changed": "changed the role of {object} to {new}",
    "organization.created": "set up {object}",
    "password.changed": "changed the password of {object}",
    "person.renamed": "changed the name of {object}",
    "portal.restore_confirmed": "confirmed that this portal runs alone",
    "portal.restored": "restored this portal from a backup",
    "repository.disabled": "disabled {object}",
    "repository.enabled": "enabled {object}",
    "session.others_ended": "signed out everywhere else",
    "session.proved": "confirmed the password",
    "session.refused": "tried to sign in and was refused",
    "session.throttled": "tried to sign in too often",
    "session.started": "signed in",
    "support_bundle.taken": "downloaded a support bundle of {object}",
    "token.revocation_failed": "could not get a token of {object} revoked",
    "token.revoked": "had GitLab revoke a token of {object}",
    "token.revoked_by_hand": "said that a token of {object} was revoked by hand",
}


class _Fields(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "?"


def sentence_of(event: AuditEvent) -> str:
    """Return what was done, to follow the name of whoever did it; an unknown action is shown as its own words."""
    template = SENTENCES.get(event.action)
    if template is None:
        return f"{event.action.replace('.', ' ').replace('_', ' ')} {event.object_name}".strip()
    texts = {name: value.replace("_", " ") for name, value in event.details.items() if isinstance(value, str)}
    return template.format_map(_Fields({**texts, "object": event.object_name or event.object_id}))
