"""What accounts bring to the portal."""

from __future__ import annotations

from portal.accounts.jobs import forget_ended, has_ended
from portal.accounts.models import (
    GroupGrant,
    Invitation,
    InvitedGroup,
    Membership,
    Organization,
    SessionRecord,
    SetupToken,
    SignInAttempt,
    User,
)
from portal.actor import Right
from portal.capability import Capability, NavigationEntry, PeriodicJob
from portal.db import delete_of_connection

CAPABILITY = Capability(
    name="accounts",
    views="portal.accounts.views",
    navigation={40: NavigationEntry("accounts.members", "Members", "users", Right.SEE_MEMBERS)},
    tables=(
        GroupGrant,
        Invitation,
        InvitedGroup,
        Membership,
        Organization,
        SessionRecord,
        SetupToken,
        SignInAttempt,
        User,
    ),
    jobs=(PeriodicJob("accounts.forget", forget_ended, "Delete ended sessions and old invitations", 3600, has_ended),),
    erases=delete_of_connection(GroupGrant, InvitedGroup),
    actions={
        "access.refused": "was refused {object}",
        "member.group_granted": "gave {object} the group {path}",
        "member.group_revoked": "took the group {path} from {object}",
        "member.invitation_refused": "was refused an invitation link",
        "member.invitation_withdrawn": "withdrew the invitation of {object}",
        "member.invited": "invited {object}",
        "member.joined": "joined",
        "member.removed": "removed {object}",
        "member.role_changed": "changed the role of {object} to {new}",
        "organization.created": "set up {object}",
        "organization.plan_changed": "changed the plan of {object} to {new}",
        "password.changed": "changed the password of {object}",
        "person.renamed": "changed the name of {object}",
        "session.others_ended": "signed out everywhere else",
        "session.proved": "confirmed the password",
        "session.refused": "tried to sign in and was refused",
        "session.started": "signed in",
        "session.throttled": "tried to sign in too often",
    },
)
