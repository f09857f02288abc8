"""A response format -> a JSON Schema -> which tokens a row may take next, for the engine that samples them itself.

    schema = schema_of(response_format)             # None for text; refuses what can't be meant, and unknown keywords
    await judge(schema)                             # refuses what no engine could enforce
    grammars = Grammars(tokenizer, eos_ids)         # one for each engine
    guide = await grammars.compile(schema)          # one for each row; refuses what can't be enforced
    guide.mask(logits)                              # every step: what must not come is -inf
    ended = guide.accept(token)                     # whether the JSON is complete

llguidance is the library: its wheel is small and brings nothing along, it works while tokens are sampled instead of
compiling automata beforehand, it refuses keywords that it can't enforce, and vLLM speaks the same dialect with it.
"""

from __future__ import annotations

from deployments.engines.grammar.dialect import Unenforceable, enforceable, within
from deployments.engines.grammar.guides import JUDGE, Grammars, Guide
from deployments.engines.grammar.response_format import judge, schema_of

__all__ = ["JUDGE", "Grammars", "Guide", "Unenforceable", "enforceable", "judge", "schema_of", "within"]
