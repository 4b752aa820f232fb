"""Vector compares that numba cannot spell: 64 voxels against a threshold, as one bit each.

The compares are emitted as LLVM vectors, so the machine's widest instructions are used wherever
the code is compiled; a compare has one right answer, so the width cannot change a result.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import Signature
from numba.extending import intrinsic

_VOXELS = 64
# More at once is split badly by LLVM where vectors have 8 lanes, and no gain where they have 16.
_LANES = 8
_FLOAT = ir.FloatType()
_I64 = ir.IntType(64)


def _bits(builder: ir.IRBuilder, pointer: ir.Value, compare: Any) -> ir.Value:
    """OR of the lane masks of ``compare(vector)`` over 64 floats from ``pointer``."""
    vector = ir.VectorType(_FLOAT, _LANES)
    base = builder.bitcast(pointer, vector.as_pointer())
    masks = []
    for part in range(_VOXELS // _LANES):
        place = builder.gep(base, [ir.Constant(_I64, part)])
        bits = compare(builder.load(place, align=4))
        narrow = builder.bitcast(bits, ir.IntType(_LANES))
        masks.append(builder.shl(builder.zext(narrow, _I64), ir.Constant(_I64, part * _LANES)))
    while len(masks) > 1:
        masks = [builder.or_(a, b) for a, b in zip(masks[::2], masks[1::2], strict=True)]
    return masks[0]


def _splat(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    vector = ir.VectorType(value.type, lanes)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_I64, 0))
    return builder.shuffle_vector(
        one,
        ir.Constant(vector, ir.Undefined),
        ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes),
    )


def _element(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
    """Pointer to the element args[1] of the contiguous array args[0]."""
    array = cgutils.create_struct_proxy(sig.args[0])(context, builder, value=args[0])
    return builder.gep(array.data, [args[1]])


@intrinsic
def below_mask(typingctx: Any, bricks: Any, offset: Any, threshold: Any) -> Any:
    """Bit v: ``bricks[offset + v] < threshold``. bricks: contiguous float32; no bounds check."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        pointer = _element(context, builder, sig, args)
        splat = _splat(builder, args[2], _LANES)
        return _bits(builder, pointer, lambda v: builder.fcmp_ordered("<", v, splat))

    return types.uint64(bricks, types.int64, types.float32), codegen


@intrinsic
def nan_mask(typingctx: Any, bricks: Any, offset: Any) -> Any:
    """Bit v: ``bricks[offset + v]`` is NaN. bricks: contiguous float32; no bounds check."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        pointer = _element(context, builder, sig, args)
        return _bits(builder, pointer, lambda v: builder.fcmp_unordered("uno", v, v))

    return types.uint64(bricks, types.int64), codegen


@intrinsic
def count_bits(typingctx: Any, counts: Any, offset: Any, mask: Any) -> Any:
    """``counts[offset + v] += bit v of mask`` for 64 bytes. No bounds check."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        pointer = _element(context, builder, sig, args)
        vector = ir.VectorType(ir.IntType(8), _VOXELS)
        place = builder.bitcast(pointer, vector.as_pointer())
        bits = builder.bitcast(args[2], ir.VectorType(ir.IntType(1), _VOXELS))
        total = builder.add(builder.load(place, align=1), builder.zext(bits, vector))
        builder.store(total, place, align=1)
        return context.get_dummy_value()

    return types.void(counts, types.int64, types.uint64), codegen
