"""The engine over vLLM; importing it doesn't import vLLM."""

from deployments.engines.vllm.engine import VLLM

__all__ = ["VLLM"]
