"""What a deployment is given of its document."""

from __future__ import annotations

import pytest

from deployments.components import registry
from graphs.load import load_inline
from graphs.secrets import secrets_of

DOCUMENT = """
components:
  - id: api
    type: http-client
    base_url: https://example.com
    action: {path: /, params: {token: 'Token token="${env.KEY}"', deep: [{more: "<${env.OTHER}>"}]}}
  - {id: echo, type: echo, text: hi}
"""


@pytest.mark.parametrize("key", ["abc'defgh12", 'abc"defgh12', "abc\\defgh", "ab\ncd", "키가-여기에", "12345678"])
def test_a_component_knows_the_secrets_that_stand_in_it_however_they_are_written(key: str):
    plan = load_inline(DOCUMENT, registry(), {"KEY": key, "OTHER": "elsewhere-9"})
    assert secrets_of(plan.components["api"], plan) == {key, "elsewhere-9"}
    assert secrets_of(plan.components["echo"], plan) == set()
