"""What holds for the tests of sessions."""

from tests.gateway.conftest import file, no_task_is_left, url  # noqa: F401
from tests.store.conftest import postgres  # noqa: F401
