# ruff: noqa: F401
"""What the processes that tests fork have imported already; nothing here may start a thread."""

import portal.disconnection.disconnect
import portal.jobs.engine
import portal.jobs.testing
import tests.support.children
import tests.support.paired
