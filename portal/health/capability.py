"""What health brings to the portal."""

from __future__ import annotations

from portal.capability import Capability, JobDefinition, PeriodicJob
from portal.health.alarms import MAIL_ALARM
from portal.health.checks import CHECK_ONE
from portal.health.jobs import EVERY_SECONDS, check_asked, check_due, is_due, mail, thin_history
from portal.health.models import AlarmMail, HealthCheck, HealthWatch, Incident
from portal.health.panel import health_panels

CAPABILITY = Capability(
    name="health",
    views="portal.health.views",
    tables=(AlarmMail, HealthCheck, HealthWatch, Incident),
    jobs=(
        PeriodicJob("health.check", check_due, "Check connections", EVERY_SECONDS, is_due),
        JobDefinition(CHECK_ONE, check_asked),
        JobDefinition(MAIL_ALARM, mail),
        PeriodicJob("health.thin", thin_history, "Delete old results of checks", 86_400),
    ),
    connection_panels={10: health_panels},
    actions={
        "health.check_requested": "had {object} checked",
        "incident.closed": "saw that {object} works again",
        "incident.opened": "noticed a problem with {object}",
        "support_bundle.taken": "downloaded a support bundle of {object}",
    },
)
