"""The WSGI application: `gunicorn wsgi:app`."""

import signal
import sys

from flask import Flask

from portal import create_app
from portal.operation.start import Refused, check_for_web
from portal.settings import EXIT_CONFIG, Settings, SettingsError

# Gunicorn keeps restarting a worker unless it ends with gunicorn's own code for an application that cannot be loaded.
GUNICORN_LOAD_ERROR = 4


def _load() -> Flask:
    try:
        return create_app(runtime=check_for_web(Settings.from_environ()))
    except (Refused, SettingsError) as refused:
        sys.stderr.write(f"{refused}\n")
        sys.stderr.flush()
    # In gunicorn's master, with --preload, and in every other server, our own exit code is used.
    owner = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    in_worker = any(base.__module__.startswith("gunicorn.workers") for base in type(owner).__mro__)
    raise SystemExit(GUNICORN_LOAD_ERROR if in_worker else EXIT_CONFIG)


app = _load()
