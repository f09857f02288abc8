"""The `${…}` language: text -> templates, templates and a scope -> values. It knows nothing of documents or workflows."""

from graphs.language.environment import Lookup, Resolved, resolve_env
from graphs.language.evaluator import Scope, compiled, evaluate
from graphs.language.operators import NeedsWhole, truth
from graphs.language.parser import parse
from graphs.language.printer import print_binding, print_reference, print_template
from graphs.language.references import bindings, chunked_names, is_stream_reference, references
from graphs.language.rendering import render
from graphs.language.scalars import typed
from graphs.language.tokens import LanguageError
from graphs.stream import kind_of

__all__ = [
    "LanguageError", "Lookup", "NeedsWhole", "Resolved", "Scope", "bindings", "chunked_names", "compiled",
    "evaluate", "is_stream_reference", "kind_of", "parse", "print_binding", "print_reference", "print_template",
    "references", "render", "resolve_env", "truth", "typed",
]  # fmt: skip
