"""What holds for all tests.

Hypothesis draws the same examples every time, so that a change fails for what it changed; `--hypothesis-profile=explore` looks further.
"""

from __future__ import annotations

import signal

from hypothesis import settings

# A suite that a script has started in the background ignores an interrupt, and so would the commands that it interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile("steady")
