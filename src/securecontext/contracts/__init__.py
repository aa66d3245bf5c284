"""Contracts between our own parts, which hold under ``python -O`` too.

`require` states what a caller owes, `ensure` what the function owes, `invariant` what an object always keeps.
A broken contract is our defect and raises `ContractBroken`; bad input from outside is a normal refusal and never
goes through here. Built on icontract (https://github.com/Parquery/icontract), always enabled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import icontract

from securecontext.types.errors import ContractBroken

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)


def _broken(kind: str, description: str) -> Callable[..., ContractBroken]:
    def make() -> ContractBroken:
        return ContractBroken(
            "contract_broken",
            f"A {kind} of SecureContext itself was broken: {description}.",
            "Nothing was changed. Please report this with the output of `zc service logs`.",
        )

    return make


def require(condition: Callable[..., Any], description: str) -> Callable[[F], F]:
    """Decorate a function with a precondition over its named arguments.

    Args:
        condition: predicate; its parameter names select the arguments.
        description: what must hold, for the message.
    """
    return icontract.require(condition, description, error=_broken("precondition", description), enabled=True)


def ensure(condition: Callable[..., Any], description: str) -> Callable[[F], F]:
    """Decorate a function with a postcondition over ``result`` and its named arguments."""
    return icontract.ensure(condition, description, error=_broken("postcondition", description), enabled=True)


def invariant(condition: Callable[..., Any], description: str) -> Callable[[C], C]:
    """Decorate a class with a condition over ``self`` that every public method keeps, the making of it included."""
    check = icontract.invariant(condition, description, error=_broken("invariant", description), enabled=True)

    def keep(cls: C) -> C:
        given = cls.__dict__.get("__setstate__")
        if given is not None and given.__name__ != "__setstate__":
            # icontract looks for methods by their names; a frozen dataclass with slots gets one that has another.
            def setstate(self: Any, state: Any) -> None:
                given(self, state)

            setstate.__name__ = "__setstate__"
            cls.__setstate__ = setstate  # type: ignore[attr-defined]  # what pickle and copy call
        return check(cls)

    return keep
