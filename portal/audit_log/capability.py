"""What the audit log brings to the portal."""

from __future__ import annotations

from portal.audit.models import AuditEvent, AuditHead, AuditVerification
from portal.audit_log.jobs import DAY, TITLE, VERIFY, has_news, tell, verify
from portal.capability import Capability, PeriodicJob

CAPABILITY = Capability(
    name="audit_log",
    views="portal.audit_log.views",
    tables=(AuditEvent, AuditHead, AuditVerification),
    jobs=(
        PeriodicJob(VERIFY, verify, TITLE, DAY),
        PeriodicJob("audit.write_head", tell, "Record the newest event of the audit log", 60, has_news),
    ),
    actions={
        "audit.exported": "exported the audit log",
        "audit.verify_requested": "started a verification of the audit log",
    },
)
