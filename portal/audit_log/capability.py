"""What the audit log brings to the portal."""

from __future__ import annotations

from portal.actor import Right
from portal.audit.models import AccessEntry, AuditEvent, AuditHead, AuditVerification
from portal.audit_log.jobs import (
    DAY,
    SEAL_SECONDS,
    TITLE,
    VERIFY,
    delete_old_entries,
    has_news,
    has_old_entries,
    has_unsealed_entries,
    seal_entries,
    tell,
    verify,
)
from portal.capability import Capability, NavigationEntry, PeriodicJob

CAPABILITY = Capability(
    name="audit_log",
    views="portal.audit_log.views",
    navigation={50: NavigationEntry("audit.index", "Audit log", "history", Right.SEE_AUDIT)},
    tables=(AccessEntry, AuditEvent, AuditHead, AuditVerification),
    jobs=(
        PeriodicJob(VERIFY, verify, TITLE, DAY),
        PeriodicJob("audit.write_head", tell, "Record the newest event of the audit log", 60, has_news),
        PeriodicJob("access_log.seal", seal_entries, "Seal the access log", SEAL_SECONDS, has_unsealed_entries),
        PeriodicJob("access_log.expire", delete_old_entries, "Delete old access log entries", DAY, has_old_entries),
    ),
    actions={
        "access_log.expired": "deleted old entries of the access log",
        "access_log.sealed": "sealed entries of the access log",
        "audit.exported": "exported the audit log",
        "audit.verify_requested": "started a verification of the audit log",
    },
)
