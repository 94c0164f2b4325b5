"""The portal's gunicorn settings with deadlines that a test can wait for."""

from typing import Any

import gatehouse_gunicorn
from gatehouse_gunicorn import *  # noqa: F403 - gunicorn takes every name that it knows
from tests.support.machine_views import add_machine_views

gatehouse_gunicorn.HEAD_SECONDS = 0.3
gatehouse_gunicorn.BODY_SECONDS = 0.3
gatehouse_gunicorn.SEND_SECONDS = 0.3


def post_worker_init(worker: Any) -> None:
    """Add views for programs to the application."""
    add_machine_views(worker.app.wsgi())
