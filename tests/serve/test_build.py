"""What building says in the log."""

from __future__ import annotations

import pytest

from graphs.app import BuildArgs, build


def test_warnings_of_a_document_stand_in_the_log(caplog: pytest.LogCaptureFixture):
    build(BuildArgs(document="component: {type: echo, text: say $API_KEY}", check_placement=False))
    [record] = [each for each in caplog.records if each.name == "anabranch.build"]
    assert (record.levelname, record.getMessage().splitlines()[0]) == (
        "WARNING", "<document>:1:35: warning: '$API_KEY' is plain text, not a binding"
    )  # fmt: skip
