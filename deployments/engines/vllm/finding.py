"""What a document says of a model -> what vLLM is started with; the model's files are downloaded on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.engines.fetching import fetch, trusts_code
from deployments.engines.huggingface.embedding import Mode, Recipe, read_recipe
from deployments.engines.huggingface.loading import read_config
from deployments.engines.vllm.starting import Start, spreads
from graphs.errors import InvalidInput

POOLING = {"text-embedding": "embed", "text-classification": "classify"}
"""Tasks that generate nothing, and what vLLM calls them."""
OF_THE_FILES = ("revision", "trust_remote_code")
"""Options that matter where the model's files are looked up."""
OWN_WAYS = ("load_format", "download_dir", "model_loader_extra_config")
"""Options by which vLLM finds the weights itself."""
MODES: Mapping[Mode, str] = {"mean": "MEAN", "cls": "CLS", "lasttoken": "LAST"}


def find(name: str, task: str, device: str | None, precision: str, options: Mapping[str, Any]) -> Start:
    """Return how to start vLLM. Call it in a thread: it downloads files that are missing."""
    options = {**options, "trust_remote_code": trusts_code(options)}
    of_the_files = {key: options[key] for key in OF_THE_FILES if key in options}
    config = read_config(name, of_the_files)
    if config.is_encoder_decoder:
        raise InvalidInput(
            f"model {name!r} is an encoder-decoder, which vLLM can't run; write `driver: huggingface`", field="driver"
        )
    if task == "text-embedding":
        folder = fetch(name, of_the_files)
        recipe = read_recipe(folder, name)
        return Start(name, str(folder), device, precision, options, _pooler(recipe, name), recipe.longest)
    # Workers on other nodes have other disks.
    by_itself = spreads(options) or any(option in options for option in OWN_WAYS)
    model = name if by_itself else str(fetch(name, of_the_files))
    return Start(name, model, device, precision, options, {} if task in POOLING else None)


def _pooler(recipe: Recipe, name: str) -> Mapping[str, Any]:
    """Return what vLLM calls the same pooling."""
    if recipe.mode not in MODES:
        raise InvalidInput(
            f"model {name!r} pools by {recipe.mode}, which vLLM can't; write `driver: huggingface`", field="driver"
        )
    return {"seq_pooling_type": MODES[recipe.mode], "use_activation": recipe.normalized}
