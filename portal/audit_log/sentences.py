"""Events as people read them: what someone did, worded to follow their name."""

from __future__ import annotations

from portal.audit.models import AuditEvent
from portal.runtime import Runtime


class _Fields(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "?"


def sentence_of(runtime: Runtime, event: AuditEvent) -> str:
    """Return what was done, to follow the name of whoever did it; an unknown action is shown as its own words."""
    template = runtime.capabilities.actions.get(event.action)
    if template is None:
        return f"{event.action.replace('.', ' ').replace('_', ' ')} {event.object_name}".strip()
    texts = {name: value.replace("_", " ") for name, value in event.details.items() if isinstance(value, str)}
    return template.format_map(_Fields({**texts, "object": event.object_name or event.object_id}))
