"""Background work on the audit log: verifying it every day and on request, and recording its head."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import col, select

from portal.actor import Principal
from portal.audit.access import expire, has_expired, has_unsealed, seal
from portal.audit.head import last_noted, last_written, write_head
from portal.audit.models import AuditVerification
from portal.audit.service import record
from portal.audit.verify import read_head, verify_chain
from portal.errors import Card, UpstreamFailed
from portal.jobs import Job, JobContext, enqueue, find_unfinished
from portal.logs import get_logger
from portal.runtime import Runtime

log = get_logger(__name__)

VERIFY = "audit.verify"
TITLE = "Verify the audit log"
SEAL_SECONDS = 5
DAY = 86_400


@dataclass(frozen=True)
class VerificationState:
    """What the page says about the chain: the result of the last verification, and the job that verifies it now."""

    last: AuditVerification | None
    job: Job | None


def verify(context: JobContext) -> None:
    """Check the whole chain and store the result."""

    def progress(done: int, total: int) -> None:
        context.raise_if_stopped()
        context.progress(done, total, "Checking one event after the other")

    try:
        verdict = verify_chain(context.runtime, progress)
    except OSError as error:
        raise UpstreamFailed(Card("audit_head_unreadable")) from error
    with context.transaction() as session:
        fault = verdict.fault
        row = AuditVerification(checked=verdict.checked)
        if fault:
            row.fault_number, row.fault = fault.number, fault.what
        session.add(row)
    if fault:
        log.error("audit_log_broken", number=fault.number, what=fault.what)
    message = str(fault or f"All {verdict.checked:,} events are as they were written.")
    context.progress(verdict.checked, None, message)


def has_news(runtime: Runtime) -> bool:
    """Return whether the head file is behind the log."""
    path = runtime.settings.audit_head_file
    try:
        noted = last_noted(path)
    except OSError:
        return True  # The job says so.
    number = read_head(runtime.database).number
    if path is None or number == 0:
        return number != last_written(path)
    return noted is None or noted.number != number


def tell(context: JobContext) -> None:
    """Write the head to the log and the head file, and raise the alarm if the log is behind that file."""
    path = context.runtime.settings.audit_head_file
    try:
        noted = last_noted(path)  # Before the head is read: it only grows.
    except OSError:
        noted = None  # Reported below, where it cannot be written either.
    head = read_head(context.runtime.database)
    if noted and noted.number > head.number:
        log.error("audit_log_cut_off", newest=head.number, noted=noted.number)
    write_head(path, head)


def has_unsealed_entries(runtime: Runtime) -> bool:
    """Whether there are entries of the access log that no event covers yet."""
    return has_unsealed(runtime.database)


def seal_entries(context: JobContext) -> None:
    """Cover the newest entries of the access log by one event."""
    with context.transaction() as session:
        seal(session, context.runtime.vault.audit_key)


def has_old_entries(runtime: Runtime) -> bool:
    """Whether there are entries of the access log past their retention time."""
    return has_expired(runtime.database, runtime.settings.access_log_days)


def delete_old_entries(context: JobContext) -> None:
    """Delete entries of the access log past their retention time."""
    expire(context.runtime.database, context.runtime.settings.access_log_days)


def request_verification(runtime: Runtime, principal: Principal) -> Job:
    """Start verifying now; if a verification for this organization is running, return that."""
    own = principal.organization_id
    with runtime.database.transaction() as session:
        job = enqueue(session, VERIFY, organization_id=own, title=TITLE, key=_key(own), actor=principal.actor)
        record(session, principal.actor, "audit.verify_requested", job.target)
        return job


def verification_state(runtime: Runtime, organization_id: int) -> VerificationState:
    """Return the result of the last verification, whoever started it, and the one this organization has running."""
    with runtime.database.reading() as session:
        newest = select(AuditVerification).order_by(col(AuditVerification.id).desc()).limit(1)
        return VerificationState(session.exec(newest).first(), find_unfinished(session, _key(organization_id)))


def _key(organization_id: int) -> str:
    return f"{VERIFY}:{organization_id}"
