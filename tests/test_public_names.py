"""What authors of component types import: `anabranch`, and nothing behind it."""

import anabranch
from graphs import component, errors


def test_every_error_that_a_component_may_raise_is_public() -> None:
    raised = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.AnabranchError)
    }
    assert raised <= set(anabranch.__all__)


def test_every_public_name_is_the_contracts_own() -> None:
    for name in anabranch.__all__:
        assert getattr(anabranch, name) in (vars(component).get(name), vars(errors).get(name))
