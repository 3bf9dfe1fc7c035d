"""Random initial values without seconds of compiling: one small program draws all leaves that are drawn alike."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.extend.core import Literal

Tree = Any
Maker = Callable[[jax.Array], list[Any]]
# A random kernel takes long to optimise and runs once.
UNOPTIMISED = {"xla_backend_optimization_level": 0}
# Leaves up to this many elements are drawn at the length of the longest of them: one program serves them all.
SHORT = 2**16
# Each element of the result depends on the same element of the arguments alone, whatever their length.
ELEMENTWISE = frozenset((
    "abs", "add", "and", "bitcast_convert_type", "clamp", "convert_element_type", "cos", "copy", "div", "eq", "erf",
    "erf_inv", "exp", "exp2", "expm1", "floor", "ge", "gt", "integer_pow", "is_finite", "le", "log", "log1p",
    "logistic", "lt", "max", "min", "mul", "ne", "neg", "nextafter", "not", "or", "pow", "rsqrt", "select_n",
    "shift_left", "shift_right_arithmetic", "shift_right_logical", "sign", "sin", "sqrt", "square", "stop_gradient",
    "sub", "tan", "tanh", "xor",
))  # fmt: skip


class _Operation(NamedTuple):
    """An equation whose variables are numbers: places in the list of all values, the literals first."""

    primitive: Any
    params: dict[str, Any]
    inputs: tuple[int, ...]
    output: int


class _Recipe(NamedTuple):
    """How one leaf is drawn at any length.

    Args:
        literals: Numbers that the operations read: what leaves of one kind differ in.
        operations: In order; the last one makes the leaf. Value 0 is the key, then come the literals.
    """

    literals: tuple[np.ndarray, ...]
    operations: tuple[_Operation, ...]

    @property
    def kind(self) -> str:
        """Equal for two leaves that one program can draw."""
        steps = [(str(o.primitive), sorted(map(str, o.params.items())), o.inputs, o.output) for o in self.operations]
        return str((steps, [literal.dtype for literal in self.literals]))


class _Unfit(Exception):
    """A leaf is not drawn element by element."""


def drawn(init: Callable[[jax.Array], Tree]) -> Callable[[jax.Array], Tree]:
    """The same function of a key, compiled in a fraction of the time; equal keys give equal trees.

    As one program, the initialisation of a ResNet-20 compiles twenty random kernels of seven shapes. But an element of
    JAX's partitionable threefry depends on the key and its flat index alone, so that one kernel draws a leaf of any
    shape, and longer ones than are needed. Leaves that hold one number need no program; leaves that mix elements
    (orthogonal kernels) and other generators are compiled as they are.

    Args:
        init: PRNG key -> a tree of arrays; traceable, and free of side effects.

    Returns:
        The function; under a transformation of JAX (`jit`, `vmap`, `eval_shape`) it is `init` itself, which it also
        holds as `__wrapped__`.
    """
    known: dict[Any, Callable[[jax.Array], Tree]] = {}

    @wraps(init)
    def draw(key: jax.Array) -> Tree:
        if isinstance(key, Tracer):
            return init(key)
        kind = (key.shape, str(key.dtype), getattr(jax.config, "jax_threefry_partitionable"))  # noqa: B009
        if kind not in known:
            known[kind] = _plan(init, key, any_length=kind == ((), "key<fry>", True))
        return known[kind](key)

    return draw


def _plan(init: Callable[[jax.Array], Tree], key: jax.Array, any_length: bool) -> Callable[[jax.Array], Tree]:
    closed, shapes = jax.make_jaxpr(init, return_shape=True)(key)
    structure, specs = jax.tree.structure(shapes), jax.tree.leaves(shapes)
    constants = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    filled: dict[int, Any] = {}
    groups: dict[Any, list[tuple[int, _Recipe]]] = defaultdict(list)
    rest: list[int] = []
    for place, (out, spec) in enumerate(zip(closed.jaxpr.outvars, specs, strict=True)):
        equations = _needed(closed.jaxpr.eqns, out)
        if (value := _constant(equations, out, constants)) is not None:
            filled[place] = np.broadcast_to(np.asarray(value, spec.dtype), spec.shape)
            continue
        try:
            if not any_length:
                raise _Unfit
            recipe = _Reader(closed.jaxpr.invars[0], constants, spec.shape).recipe(equations)
            size = math.prod(spec.shape)
            groups[recipe.kind, SHORT if size <= SHORT else size].append((place, recipe))
        except _Unfit:
            rest.append(place)
    makers = [(members, _together(members, specs)) for members in groups.values()]
    program = jax.jit(lambda key: [jax.tree.leaves(init(key))[i] for i in rest], compiler_options=UNOPTIMISED)

    def run(key: jax.Array) -> Tree:
        # New memory at each call and for each leaf: a step that consumes its state must not reach another's.
        leaves: dict[int, Any] = {place: np.array(value) for place, value in filled.items()}
        for members, make in makers:
            for (place, _), flat in zip(members, np.asarray(make(key)), strict=True):
                leaves[place] = np.array(flat[: math.prod(specs[place].shape)]).reshape(specs[place].shape)
        leaves |= zip(rest, program(key) if rest else (), strict=True)
        return jax.tree.unflatten(structure, jax.device_put([leaves[place] for place in range(len(specs))]))

    return run


def _together(members: list[tuple[int, _Recipe]], specs: list[Any]) -> Callable[[jax.Array], jax.Array]:
    """key -> leaves of one kind as the rows of an array, all of them as long as the longest."""
    length = max(math.prod(specs[place].shape) for place, _ in members)
    operations = members[0][1].operations
    columns = [np.stack(column) for column in zip(*(recipe.literals for _, recipe in members), strict=True)]

    def draw(key: jax.Array, columns: list[jax.Array]) -> jax.Array:
        return lax.map(lambda literals: _follow(operations, key, literals, length), columns)

    program = jax.jit(draw, compiler_options=UNOPTIMISED)
    return lambda key: program(key, columns)


def _follow(operations: Iterable[_Operation], key: jax.Array, literals: list[jax.Array], length: int) -> jax.Array:
    values, last = {0: key} | dict(enumerate(literals, 1)), 0
    for primitive, params, inputs, last in operations:
        arrays, params = [values[place] for place in inputs], dict(params)
        if primitive.name == "random_bits":
            params["shape"] = (length,)
        elif primitive.name in ELEMENTWISE and any(array.shape == (length,) for array in arrays):
            arrays = [jnp.broadcast_to(array, (length,)) for array in arrays]
        values[last] = primitive.bind(*arrays, **params)
    return jnp.broadcast_to(values[last], (length,))


def _needed(equations: Iterable[Any], out: Any) -> list[Any]:
    """The equations that a variable needs, in order."""
    if isinstance(out, Literal):
        return []
    needed, found = {out}, []
    for equation in reversed(list(equations)):
        if needed.intersection(equation.outvars):
            found.append(equation)
            needed.update(var for var in equation.invars if not isinstance(var, Literal))
    return found[::-1]


def _constant(equations: list[Any], out: Any, constants: dict[Any, Any]) -> Any:
    """The value of a leaf that is known, or the one number that fills it; None for any other."""
    value: Any = None
    if len(equations) == 1 and equations[0].primitive.name == "broadcast_in_dim":
        out = equations[0].invars[0]
        value = out.val if isinstance(out, Literal) else constants.get(out)
        return value if np.ndim(value) == 0 else None
    if equations:
        return None
    return out.val if isinstance(out, Literal) else constants.get(out)


class _Reader:
    """Reads the equations of a leaf into a recipe.

    Args:
        key: The variable of the key.
        constants: Values of variables from outside.
        shape: Of the leaf.
    """

    def __init__(self, key: Any, constants: dict[Any, Any], shape: tuple[int, ...]):
        self.key, self.constants, self.shape = key, constants, shape
        self.literals: list[np.ndarray] = []
        self.operations: list[tuple[Any, dict[str, Any], list[Any], Any]] = []
        self.flat: set[Any] = set()  # values of which every element is an element of the leaf

    def recipe(self, equations: list[Any]) -> _Recipe:
        """The equations of a leaf as operations on a flat array.

        Raises:
            _Unfit: An operation mixes elements, or is not known to do no such thing.
        """
        self._walk(equations, {self.key: ("key", 0)})
        if not self.flat or self.operations[-1][3] not in self.flat:
            raise _Unfit
        first = len(self.literals) + 1
        number = {("key", 0): 0} | {("literal", i): i for i in range(1, first)}
        number |= {("value", i): first + i for i in range(len(self.operations))}
        return _Recipe(
            tuple(self.literals),
            tuple(
                _Operation(p, params, tuple(number[i] for i in ins), number[o]) for p, params, ins, o in self.operations
            ),
        )

    def _walk(self, equations: Iterable[Any], scope: dict[Any, Any]) -> None:
        for equation in equations:
            inputs = [self._atom(var, scope) for var in equation.invars]
            if equation.primitive.name in ("jit", "pjit"):
                inner = equation.params["jaxpr"]
                if inner.consts:
                    raise _Unfit
                within = dict(zip(inner.jaxpr.invars, inputs, strict=True))
                self._walk(inner.jaxpr.eqns, within)
                found = [self._atom(out, within) for out in inner.jaxpr.outvars]
                scope.update(zip(equation.outvars, found, strict=True))
            else:
                self._read(equation, inputs, scope)

    def _read(self, equation: Any, inputs: list[Any], scope: dict[Any, Any]) -> None:
        name, out = equation.primitive.name, equation.outvars[0]
        if len(equation.outvars) != 1 or any("jaxpr" in parameter for parameter in equation.params):
            raise _Unfit
        if name == "broadcast_in_dim" and equation.invars[0].aval.size == 1 and inputs[0] not in self.flat:
            scope[out] = inputs[0]  # It stays a number until it meets a flat array.
            return
        known, whole = name in ELEMENTWISE, out.aval.shape == self.shape
        if any(part in self.flat for part in inputs):
            spread, fits = True, known and whole
        else:
            spread = name == "random_bits" and whole
            fits = spread or out.aval.shape == () or (known and out.aval.size == 1)
        if not fits:
            raise _Unfit
        scope[out] = ("value", len(self.operations))
        if spread:
            self.flat.add(scope[out])
        params = {k: v for k, v in equation.params.items() if (name, k) != ("random_bits", "shape")}
        self.operations.append((equation.primitive, params, inputs, scope[out]))

    def _atom(self, var: Any, scope: dict[Any, Any]) -> Any:
        if not isinstance(var, Literal) and var in scope:
            return scope[var]
        value, kind = var.val if isinstance(var, Literal) else self.constants.get(var), cast(Any, var.aval)
        if value is None or np.ndim(value) != 0:
            raise _Unfit
        self.literals.append(np.asarray(value, kind.dtype))
        return ("literal", len(self.literals))
