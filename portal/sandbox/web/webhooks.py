"""Admin area, Webhooks: every hook with its newest delivery, and a button for each thing that makes hooks fire.

A GitLab has no such page; its people push, and its administrators look at one hook after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from portal.sandbox.groups import DEVELOPER
from portal.sandbox.people import DEV_ID
from portal.sandbox.web.gate import signed_in_user

if TYPE_CHECKING:
    from portal.sandbox.hooks import Hook
    from portal.sandbox.projects import Project
    from portal.sandbox.world import World

# What the page offers, under its headings; the names are cases of `_happen`.
EVENTS = {
    "Repository": {
        "push": "Push a commit",
        "push_many": "Push 23 commits",
        "push_branches": "Push four branches",
        "tag": "Push a tag",
    },
    "Issues and merge requests": {
        "issue": "Open an issue",
        "close_issue": "Close the newest issue",
        "merge_request": "Open a merge request",
        "merge": "Merge the newest merge request",
        "comment": "Comment",
    },
    "Project": {
        "create": "Create a project beside it",
        "rename": "Rename",
        "transfer": "Transfer to its top-level group",
        "archive": "Archive or unarchive",
        "destroy": "Delete",
    },
    "Members and groups": {
        "member": "Add or remove a developer",
        "rename_group": "Rename its group",
    },
}
# Switches of the sandbox that disturb deliveries, as a form sends them.
DISTURBANCES = {
    "hook_copies": ("Send each delivery this often", int),
    "hook_delay_seconds": ("Delay deliveries by this many seconds", float),
    "lose_hooks": ("Lose this many deliveries", int),
}
LARGEST, PROJECTS_SHOWN = 100, 200


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount `/admin/hooks`, under which GitLab keeps its system hooks."""

    @blueprint.get("/admin/hooks")
    def webhooks() -> ResponseReturnValue:
        hooks = world.hooks.all()
        owners = {hook.owner_id for hook in hooks if hook.level == "project"}
        owned = [project for project in map(world.projects.by_id, sorted(owners)) if project]
        projects = [*owned, *(project for project in world.projects.rows[:PROJECTS_SHOWN] if project.id not in owners)]
        return render_template(
            "sandbox/admin/webhooks.html",
            hooks=[(hook, _owner(world, hook), world.deliveries.alert_status(hook)) for hook in reversed(hooks)],
            projects=[world.projects.full_path(project) for project in projects],
            chosen=request.args.get("project", ""),
            events=EVENTS,
            disturbances={name: (label, getattr(world.settings, name)) for name, (label, _) in DISTURBANCES.items()},
            holds=world.settings.hold_hooks,
            held=world.deliveries.held,
            silent=world.settings.silent_mode,
        )

    @blueprint.post("/admin/hooks/events")
    def make_event() -> ResponseReturnValue:
        labels = {name: label for group in EVENTS.values() for name, label in group.items()}
        event = request.form.get("event", "")
        if event not in labels:
            abort(422)
        path = request.form.get("project", "").strip()
        project = world.projects.by_path(path)
        if project is None:
            flash(f"There is no project {path}")
            return redirect(url_for("web.webhooks"))
        try:
            project = _happen(world, event, project)
            flash(f"{labels[event]}: done")
        except LookupError:
            flash("There is no open issue or merge request in this project")
        return redirect(url_for("web.webhooks", project=world.projects.full_path(project)))

    @blueprint.post("/admin/hooks/disturbances")
    def disturb() -> ResponseReturnValue:
        try:
            changes = {
                name: min(max(kind(request.form.get(name, "0")), 0), LARGEST)
                for name, (_, kind) in DISTURBANCES.items()
            }
        except ValueError:
            abort(422)
        world.change_settings(**changes, silent_mode="silent_mode" in request.form)
        if "hold_hooks" in request.form:
            world.change_settings(hold_hooks=True)
        elif world.settings.hold_hooks:
            world.deliveries.release("reversed" if "reversed" in request.form else "sent")
        flash("Settings saved")
        return redirect(url_for("web.webhooks"))


def _owner(world: World, hook: Hook) -> str:
    if hook.level == "system":
        return "Instance"
    if hook.level == "group":
        group = world.groups.by_id(hook.owner_id)
        return group.full_path if group else "deleted group"
    project = world.projects.by_id(hook.owner_id)
    return world.projects.full_path(project) if project else "deleted project"


def _happen(world: World, event: str, project: Project) -> Project:
    """Let it happen, and return the project to choose next. Raises LookupError without an issue or merge request."""
    activity, user, number = world.activity, signed_in_user(world), int(world.now().timestamp())
    group = world.groups.by_id(project.group_id)
    if event in ("push", "push_many"):
        activity.push(project.id, commits=23 if event == "push_many" else 1, user=user)
    elif event == "push_branches":
        activity.push(project.id, *(f"branch-{place}" for place in range(4)), user=user)
    elif event == "tag":
        activity.push(project.id, tags=(f"v{number}",), user=user)
    elif event in ("issue", "close_issue"):
        activity.issue(project.id, "open" if event == "issue" else "close", user=user)
    elif event in ("merge_request", "merge"):
        activity.merge_request(project.id, "open" if event == "merge_request" else "merge", user=user)
    elif event == "comment":
        activity.comment(project.id, user=user)
    elif event == "create":
        world.add_project(f"{world.projects.namespace_path(project)}/new-{number}")
    elif event == "rename":
        return world.change_project(project.id, path=f"{project.path.partition('-renamed-')[0]}-renamed-{number}")
    elif event == "transfer" and group is not None:
        return world.change_project(project.id, group_id=list(world.groups.ancestors(group.id))[-1].id)
    elif event == "archive":
        return world.change_project(project.id, archived=not project.archived)
    elif event == "destroy":
        world.delete_project(project.id)
    elif event == "member":
        held = world.members.direct_on_project(project.id, DEV_ID)
        world.add_project_member(project.id, DEV_ID, 0 if held else DEVELOPER)
    elif event == "rename_group" and group is not None:
        world.rename_group(group.id, f"{group.path.partition('-renamed-')[0]}-renamed-{number}")
    return project
