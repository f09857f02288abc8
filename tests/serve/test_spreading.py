"""A replica whose GPUs may lie apart: Ray sets them aside together, a bundle each, and the replica in the first."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio
from ray import serve
from ray.util import placement_group_table

from deployments.components import registry
from graphs.app import compose
from graphs.load import load_inline
from tests.serve.api import Api, calling
from tests.serve.drill import Drill

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Spreading(Drill):
    """A drill that would start workers of its own, as a model split over GPUs does."""

    type = "spreading"

    @classmethod
    def spreads(cls, config: Mapping[str, Any]) -> bool:
        return True


TYPES = {**registry(), "spreading": Spreading}

DOCUMENT = """
component:
  id: split
  type: spreading
  resources: {num_gpus: 2, num_cpus: 0.25}
  action: {do: where}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(cluster: str) -> AsyncIterator[Api]:
    serve.run(compose(load_inline(DOCUMENT, TYPES, {}), TYPES), name="spread", route_prefix="/")
    async with calling(cluster) as api:
        yield api


async def test_the_gpus_are_set_aside_in_bundles_that_workers_can_take(api):
    groups = [each for each in placement_group_table().values() if each["state"] == "CREATED"]
    assert [each["strategy"] for each in groups] == ["PACK"]
    assert groups[0]["bundles"] == {0: {"GPU": 1.0, "CPU": 0.25}, 1: {"GPU": 1.0}}


async def test_the_replica_itself_takes_none_of_them(api):
    answer = await api.run("split")
    assert answer.json()["gpus"] in (None, "")
