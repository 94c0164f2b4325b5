"""The portal's gunicorn settings with deadlines that a test can wait for."""

import gatehouse_gunicorn
from gatehouse_gunicorn import *  # noqa: F403 - gunicorn takes every name that it knows

gatehouse_gunicorn.HEAD_SECONDS = 0.3
gatehouse_gunicorn.BODY_SECONDS = 0.3
gatehouse_gunicorn.SEND_SECONDS = 0.3
