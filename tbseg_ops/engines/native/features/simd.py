"""Sixteen float32 lanes as one numba value, with exactly the arithmetic that is written.

numba neither vectorises shifted loads nor offers a fused multiply-add, so these intrinsics emit
LLVM vectors directly. Sixteen lanes are one AVX-512 register, two of AVX2 or four of SSE: LLVM
splits them, lane by lane the arithmetic is the same. LLVM is never allowed to fuse or reorder on
its own (no fastmath anywhere): a result must not depend on the processor, on the vector width or
on where in a row a voxel lies.

In njit code a vector takes ``+ - * /``, unary ``-``, ``<``, ``==`` with another vector; comparisons
give masks for ``select``. Loads and stores take the ``pointer`` of a flat array and an element
index; they are unaligned and unchecked: the caller owns the bounds, and keeps the array alive.
Kernels pass pointers on, not arrays: numba counts the references of arrays, with locked
instructions, wherever one is handed to a function, which tripled the time of the inner loops.
"""

# numba and llvmlite carry few annotations of their own.
# mypy: disable-error-code="no-untyped-call, untyped-decorator, attr-defined"

import operator
from typing import Any, ClassVar

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel
from numba.core.extending import lower_builtin, register_model
from numba.core.typing.templates import ConcreteTemplate, Signature, infer_global, signature

from tbseg_ops.engines.native.features.layout import LANES
from tbseg_ops.engines.native.jit import emitted

_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)


class _Lanes(types.Type):
    """A numba type whose values are LLVM vectors held in registers."""


class _Address(types.Type):
    """The first element of a flat array; nobody counts it."""

    def __init__(self, element: Any) -> None:
        self.element = element
        super().__init__(f"address of {element}")


vector = _Lanes("float32x16")
mask = _Lanes("bool1x16")
# In annotations of compiled functions: what ``pointer`` and ``load`` give.
Pointer = Any
Vector = Any


@register_model(_Lanes)
class _LanesModel(PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: _Lanes) -> None:
        super().__init__(dmm, fe_type, _FLOATS if fe_type == vector else _BITS)


@register_model(_Address)
class _AddressModel(PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: _Address) -> None:
        element = dmm.lookup(fe_type.element).get_data_type()
        super().__init__(dmm, fe_type, element.as_pointer())


def _binary(op: Any, result: _Lanes, emit: Any) -> None:
    @infer_global(op)
    class Operation(ConcreteTemplate):
        cases: ClassVar[list[Signature]] = [signature(result, vector, vector)]

    @lower_builtin(op, vector, vector)
    def lower(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        return emit(builder, *args)


_binary(operator.add, vector, lambda b, x, y: b.fadd(x, y))
_binary(operator.sub, vector, lambda b, x, y: b.fsub(x, y))
_binary(operator.mul, vector, lambda b, x, y: b.fmul(x, y))
_binary(operator.truediv, vector, lambda b, x, y: b.fdiv(x, y))
_binary(operator.lt, mask, lambda b, x, y: b.fcmp_ordered("<", x, y))
_binary(operator.eq, mask, lambda b, x, y: b.fcmp_ordered("==", x, y))


@infer_global(operator.neg)
class _Negation(ConcreteTemplate):
    cases: ClassVar[list[Signature]] = [signature(vector, vector)]


@lower_builtin(operator.neg, vector)
def _negate(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
    return builder.fneg(args[0])


@emitted
def splat(typingctx: Any, value: Any) -> tuple[Signature, Any]:
    """The float32 scalar in every lane."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        one = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), args[0], _index(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(one, ir.Constant(_FLOATS, ir.Undefined), zeros)

    return vector(types.float32), codegen


@emitted
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> tuple[Signature, Any]:
    """``a * b + c`` with one rounding."""
    return vector(vector, vector, vector), _call("llvm.fma")


@emitted
def root(typingctx: Any, a: Any) -> tuple[Signature, Any]:
    """Square root, correctly rounded."""
    return vector(vector), _call("llvm.sqrt")


@emitted
def magnitude(typingctx: Any, a: Any) -> tuple[Signature, Any]:
    """Absolute value."""
    return vector(vector), _call("llvm.fabs")


@emitted
def select(typingctx: Any, condition: Any, yes: Any, no: Any) -> tuple[Signature, Any]:
    """Lane by lane ``yes if condition else no``."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        return builder.select(*args)

    return vector(mask, vector, vector), codegen


@emitted
def pointer(typingctx: Any, array: Any) -> tuple[Signature, Any]:
    """Where a contiguous array begins."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return _Address(array.dtype)(array), codegen


@emitted
def element(typingctx: Any, start: Any, index: Any) -> tuple[Signature, Any]:
    """The scalar ``index`` elements after ``start``."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        return builder.load(builder.gep(args[0], [args[1]]))

    return start.element(start, types.intp), codegen


@emitted
def load(typingctx: Any, start: Any, index: Any) -> tuple[Signature, Any]:
    """The sixteen floats from ``index`` elements after ``start`` on."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        return builder.load(_lanes_at(builder, args[0], args[1]), align=4)

    return vector(start, types.intp), codegen


@emitted
def store(typingctx: Any, start: Any, index: Any, value: Any) -> tuple[Signature, Any]:
    """Write sixteen floats from ``index`` elements after ``start`` on."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        builder.store(args[2], _lanes_at(builder, args[0], args[1]), align=4)
        return context.get_dummy_value()

    return types.void(start, types.intp, vector), codegen


@emitted
def store_squares(
    typingctx: Any, start: Any, index: Any, r0: Any, r1: Any, r2: Any, r3: Any
) -> tuple[Signature, Any]:
    """Four rows of 16 as four squares of 4x4, each square 16 consecutive floats from ``index``."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        def shuffled(a: ir.Value, b: ir.Value, lanes: list[int]) -> ir.Value:
            picks = ir.Constant(ir.VectorType(ir.IntType(32), LANES), lanes)
            return builder.shuffle_vector(a, b, picks)

        rows = args[2:]
        for square in range(4):
            quad = list(range(4 * square, 4 * square + 4))
            pair = quad + [LANES + lane for lane in quad] + [0] * 8
            upper = shuffled(rows[0], rows[1], pair)
            lower = shuffled(rows[2], rows[3], pair)
            whole = shuffled(upper, lower, [*range(8), *range(LANES, LANES + 8)])
            place = builder.add(args[1], ir.Constant(args[1].type, LANES * square))
            builder.store(whole, _lanes_at(builder, args[0], place), align=4)
        return context.get_dummy_value()

    return types.void(start, types.intp, vector, vector, vector, vector), codegen


def _call(name: str) -> Any:
    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        kind = ir.FunctionType(_FLOATS, [_FLOATS] * len(args))
        function = cgutils.get_or_insert_function(builder.module, kind, f"{name}.v{LANES}f32")
        return builder.call(function, args)

    return codegen


def _lanes_at(builder: ir.IRBuilder, start: ir.Value, index: ir.Value) -> ir.Value:
    return builder.bitcast(builder.gep(start, [index]), _FLOATS.as_pointer())


def _index(value: int) -> ir.Constant:
    return ir.Constant(ir.IntType(32), value)
