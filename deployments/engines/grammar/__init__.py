"""A response format -> a JSON Schema -> which tokens a row may take next, for the engine that samples them itself.

llguidance is the library: its wheel is small and brings nothing along, it works while tokens are sampled instead of
compiling automata beforehand, it refuses keywords that it can't enforce, and vLLM speaks the same dialect with it.
"""
