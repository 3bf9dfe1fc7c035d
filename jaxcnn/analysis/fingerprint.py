"""A hash of what a function computes: its operations as JAX traces them; nothing is compiled."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

CALLS = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call")
"""Operations that only call another function; what they call counts, not how often it was wrapped."""


def fingerprint(function: Callable[..., Any], *arguments: Any) -> str:
    """Return a hash of a function's operations and constants at arguments of given shapes, in hexadecimal digits.

    Names, comments and the place of the code do not count. Another version of JAX may trace other operations.

    Args:
        function: Any function that JAX can trace.
        arguments: Arrays, or `jax.ShapeDtypeStruct` in their place, also inside trees.

    >>> import jax.numpy as jnp
    >>> fingerprint(lambda x: x + 1, jnp.ones(3)) == fingerprint(lambda y: y + 1, jnp.zeros(3))
    True
    >>> fingerprint(lambda x: x + 1, jnp.ones(3)) == fingerprint(lambda x: x + 2, jnp.ones(3))
    False
    """
    return _hash(_named(jax.make_jaxpr(function)(*arguments)))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _named(jaxpr: Any) -> str:
    """Return the names of the outputs of a jaxpr, open or closed, whose inputs are named by their places."""
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    inputs = [f"{place}: {var.aval}" for place, var in enumerate(inner.invars)]
    return f"{inputs} {_outputs(inner, getattr(jaxpr, 'consts', ()), inputs)}"


def _outputs(jaxpr: Any, constants: Sequence[Any], inputs: Sequence[str]) -> list[str]:
    """Return the names of a jaxpr's outputs: a value's name is a hash of its operation and of the names it reads.

    So neither the order of independent operations counts nor what no output needs.
    """
    names = dict(zip(jaxpr.invars, inputs, strict=True))
    names |= {var: _text(value) for var, value in zip(jaxpr.constvars, constants, strict=False)}

    def name(atom: Any) -> str:
        return f"{_text(atom.val)} {atom.aval}" if hasattr(atom, "val") else names[atom]

    for eqn in jaxpr.eqns:
        arguments = [name(atom) for atom in eqn.invars]
        called = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
        if eqn.primitive.name in CALLS and called is not None:
            outputs = _outputs(called.jaxpr, called.consts, arguments)
        else:
            params = [f"{key}={_text(value)}" for key, value in sorted(eqn.params.items())]
            shapes = [str(var.aval) for var in eqn.outvars]
            operation = _hash(f"{eqn.primitive.name} {arguments} {params} {shapes}")
            outputs = [f"{operation}.{place}" for place in range(len(eqn.outvars))]
        names |= dict(zip(eqn.outvars, outputs, strict=True))
    return [name(atom) for atom in jaxpr.outvars]


def _text(value: Any) -> str:
    """Return a parameter or a constant as text that is the same in every process."""
    if hasattr(getattr(value, "jaxpr", value), "eqns"):
        return _hash(_named(value))
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_text, value))})"
    if isinstance(value, jax.Array) and jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        array = np.asarray(value)
        return f"{array.dtype}{array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))  # each process chooses its addresses anew
