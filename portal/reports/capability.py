"""What reports bring to the portal."""

from __future__ import annotations

from portal.actor import Right
from portal.capability import Capability, NavigationEntry
from portal.reports.settings import report_panels, repository_panels

CAPABILITY = Capability(
    name="reports",
    views="portal.reports.views",
    stylesheets=("reports",),
    navigation={25: NavigationEntry("reports.index", "Reports", "dashboard", Right.SEE_REPOSITORIES)},
    connection_panels={19: report_panels},
    repository_panels=(repository_panels,),
    actions={
        "report.exported": "exported a report",
        "report.settings_changed": "chose {months} months and {names} for the reports of {object}",
    },
)
