"""What numba cannot spell for a brick: 64 voxels compared, copied or counted at once.

LLVM vectors are emitted directly, so the widest instructions of the machine are used wherever the
code is compiled. Compares, copies and whole numbers have one right answer, so the width cannot
change a result; the float additions are lane by lane. Arrays are contiguous, offsets are in
elements, nothing is checked: the caller owns the bounds.
"""

from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import Signature

from tbseg_ops.engines.native.forest.packing import VOXELS
from tbseg_ops.engines.native.jit import emitted
from tbseg_ops.engines.native.kernels import made_for_avx2

# A compare of 64 lanes at once is taken apart badly by LLVM where vectors are shorter.
_PART = 8
_WIDE = 16
_FLOAT = ir.FloatType()
_I8 = ir.IntType(8)
_I64 = ir.IntType(64)


def _place(
    context: Any, builder: ir.IRBuilder, sig: Signature, args: Any, lanes: ir.Type, at: int
) -> ir.Value:
    """Pointer to ``lanes`` in the array args[at] from the element args[at + 1] on."""
    proxy = cast(Any, cgutils).create_struct_proxy(sig.args[at])
    array = proxy(context, builder, value=args[at])
    return builder.bitcast(builder.gep(array.data, [args[at + 1]]), lanes.as_pointer())


def _gathered(builder: ir.IRBuilder, masks: list[ir.Value]) -> ir.Value:
    """The masks of the parts, side by side in one 64-bit number."""
    wide = [
        builder.shl(
            builder.zext(builder.bitcast(mask, ir.IntType(_PART)), _I64),
            ir.Constant(_I64, part * _PART),
        )
        for part, mask in enumerate(masks)
    ]
    while len(wide) > 1:
        wide = [builder.or_(a, b) for a, b in zip(wide[::2], wide[1::2], strict=True)]
    return wide[0]


def _splat(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    vector = ir.VectorType(value.type, lanes)
    nothing = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(nothing, value, ir.Constant(_I64, 0))
    order = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(one, nothing, order)


def _parts(builder: ir.IRBuilder, pointer: ir.Value, lanes: int = _PART) -> list[ir.Value]:
    return [builder.gep(pointer, [ir.Constant(_I64, part)]) for part in range(VOXELS // lanes)]


def _for_packing(builder: ir.IRBuilder, values: list[ir.Value]) -> list[ir.Value]:
    """Vectors of 8 voxels in a row, in the order in which AVX2 packs masks to bits in a row.

    It packs half by half: of four vectors that become one of 32 bytes, the lower halves fill the
    lower half. So the first is voxels 0 to 3 and 16 to 19, the second 4 to 7 and 20 to 23.
    """
    halves = ([0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15])
    orders = [ir.Constant(ir.VectorType(ir.IntType(32), _PART), half) for half in halves]
    return [
        builder.shuffle_vector(values[at], values[at + 2], order)
        for at in (0, 1, 4, 5)
        for order in orders
    ]


def _packed(builder: ir.IRBuilder, masks: list[ir.Value]) -> ir.Value:
    """The masks of 8 lanes each, as one 64-bit number, by three instructions of AVX2."""

    def by(name: str, result: ir.Type, *values: ir.Value) -> ir.Value:
        kind = ir.FunctionType(result, [value.type for value in values])
        named = f"llvm.x86.avx2.{name}"
        function = cast(Any, cgutils).get_or_insert_function(builder.module, kind, named)
        return builder.call(function, values)

    words = [builder.sext(mask, ir.VectorType(ir.IntType(32), 8)) for mask in masks]
    for name, kind in (
        ("packssdw", ir.VectorType(ir.IntType(16), 16)),
        ("packsswb", ir.VectorType(_I8, 32)),
    ):
        words = [by(name, kind, *two) for two in zip(words[::2], words[1::2], strict=True)]
    low, high = (builder.zext(by("pmovmskb", ir.IntType(32), part), _I64) for part in words)
    return builder.or_(low, builder.shl(high, ir.Constant(_I64, 32)))


def _joined(builder: ir.IRBuilder, first: ir.Value, second: ir.Value) -> ir.Value:
    lanes = 2 * first.type.count
    order = ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(lanes)))
    return builder.shuffle_vector(first, second, order)


@emitted
def below(typingctx: Any, values: Any, offset: Any, threshold: Any) -> Any:
    """``below(values, offset, threshold)``: bit v is "value v < threshold".

    Of 64 values that ``copied`` has put at a cache line, ``offset``.
    """

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        lanes = _PART if made_for_avx2() else _WIDE
        pointer = _place(context, builder, sig, args, ir.VectorType(_FLOAT, lanes), 0)
        limit = _splat(builder, args[2], lanes)
        masks = [
            builder.fcmp_ordered("<", builder.load(part, align=4 * lanes), limit)
            for part in _parts(builder, pointer, lanes)
        ]
        if made_for_avx2():
            return _packed(builder, masks)
        while len(masks) > 1:
            masks = [_joined(builder, *two) for two in zip(masks[::2], masks[1::2], strict=True)]
        return builder.bitcast(masks[0], _I64)

    return types.uint64(values, types.int64, types.float32), codegen


@emitted
def threshold(typingctx: Any, nodes: Any, at: Any) -> Any:
    """``threshold(nodes, at)``: the float32 that has the bits of nodes[at], int32."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        return builder.load(_place(context, builder, sig, args, _FLOAT, 0), align=4)

    return types.float32(nodes, types.uint64), codegen


@emitted
def put_pair(typingctx: Any, pairs: Any, at: Any, first: Any, second: Any) -> Any:
    """``put_pair(pairs, at, first, second)``: two elements from ``at`` on, all uint64, at once."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        both = ir.VectorType(_I64, 2)
        value = ir.Constant(both, ir.Undefined)
        for lane in (0, 1):
            value = builder.insert_element(value, args[2 + lane], ir.Constant(_I64, lane))
        builder.store(value, _place(context, builder, sig, args, both, 0), align=8)
        return context.get_dummy_value()

    return types.void(pairs, types.uint64, types.uint64, types.uint64), codegen


@emitted
def copied(typingctx: Any, target: Any, at: Any, source: Any, offset: Any) -> Any:
    """``copied(target, at, source, offset)``: copy 64 floats; bit v is "value v is NaN".

    They are stored in the order in which ``below`` wants them.
    """

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        lanes = ir.VectorType(_FLOAT, _PART)
        target, source = (_place(context, builder, sig, args, lanes, at) for at in (0, 2))
        values = [builder.load(part, align=4) for part in _parts(builder, source)]
        masks = [builder.fcmp_unordered("uno", value, value) for value in values]
        if made_for_avx2():
            values = _for_packing(builder, values)
        for to, value in zip(_parts(builder, target), values, strict=True):
            builder.store(value, to, align=4)
        return _gathered(builder, masks)

    return types.uint64(target, types.int64, source, types.int64), codegen


@emitted
def count(typingctx: Any, counts: Any, offset: Any, mask: Any, votes: Any) -> Any:
    """``count(counts, offset, mask, votes)``: ``counts[offset + v] += votes`` if bit v is set.

    counts and votes: uint8.
    """

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        lanes = ir.VectorType(_I8, VOXELS)
        pointer = _place(context, builder, sig, args, lanes, 0)
        bits = builder.bitcast(args[2], ir.VectorType(ir.IntType(1), VOXELS))
        more = builder.select(
            bits, _splat(builder, args[3], VOXELS), ir.Constant(lanes, [0] * VOXELS)
        )
        builder.store(builder.add(builder.load(pointer, align=1), more), pointer, align=1)
        return context.get_dummy_value()

    return types.void(counts, types.int64, types.uint64, types.uint8), codegen


@emitted
def count_eight(typingctx: Any, counts: Any, offset: Any, masks: Any, first: Any) -> Any:
    """``count_eight(counts, offset, masks, first)``: add bits v of masks[first : first + 8].

    counts: uint8. masks: uint64.
    """

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        lanes = ir.VectorType(_I8, VOXELS)
        pointer = _place(context, builder, sig, args, lanes, 0)
        mask = _place(context, builder, sig, args, ir.VectorType(ir.IntType(1), VOXELS), 2)
        total = builder.load(pointer, align=1)
        for i in range(8):
            bits = builder.load(builder.gep(mask, [ir.Constant(_I64, i)]), align=8)
            total = builder.add(total, builder.zext(bits, lanes))
        builder.store(total, pointer, align=1)
        return context.get_dummy_value()

    return types.void(counts, types.int64, masks, types.int64), codegen


@emitted
def exceeding(typingctx: Any, counts: Any, offset: Any, limit: Any) -> Any:
    """``exceeding(counts, offset, limit)``: bit v is ``counts[offset + v] > limit``, uint8."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        pointer = _place(context, builder, sig, args, ir.VectorType(_I8, VOXELS), 0)
        limit = _splat(builder, args[2], VOXELS)
        bits = builder.icmp_unsigned(">", builder.load(pointer, align=1), limit)
        return builder.bitcast(bits, _I64)

    return types.uint64(counts, types.int64, types.uint8), codegen


@emitted
def add_where(typingctx: Any, sums: Any, offset: Any, mask: Any, value: Any) -> Any:
    """``add_where(sums, offset, mask, value)``: ``sums[offset + v] += value`` if bit v is set."""

    def codegen(context: Any, builder: ir.IRBuilder, sig: Signature, args: Any) -> ir.Value:
        lanes = ir.VectorType(_FLOAT, VOXELS)
        pointer = _place(context, builder, sig, args, lanes, 0)
        bits = builder.bitcast(args[2], ir.VectorType(ir.IntType(1), VOXELS))
        old = builder.load(pointer, align=4)
        new = builder.fadd(old, _splat(builder, args[3], VOXELS))
        builder.store(builder.select(bits, new, old), pointer, align=4)
        return context.get_dummy_value()

    return types.void(sums, types.int64, types.uint64, types.float32), codegen
