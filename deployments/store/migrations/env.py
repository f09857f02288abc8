"""Alembic runs this file for every upgrade: it steps through the versions, inside the transaction of its caller."""

from __future__ import annotations

from typing import cast

from alembic import context
from sqlalchemy import Connection

connection = cast("Connection", context.config.attributes["connection"])
version_table = cast("str", context.config.attributes["version_table"])
context.configure(connection=connection, version_table=version_table)
context.run_migrations()
