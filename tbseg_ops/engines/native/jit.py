"""Compiling kernels with numba. Loaded only where one is not kept on disk (``kernels.py``)."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import llvmlite.binding as llvm
from numba import from_dtype, njit, types
from numba.extending import intrinsic

from tbseg_ops.engines.native.kernels import BOOL, ENTRY, INT, Array

_F = TypeVar("_F", bound=Callable[..., Any])

# What machine code may ask of the process: the C library. Whatever else it would find nowhere.
_LIBRARY = {"memcpy", "memmove", "memset", "pread"}
# numba ends by this function of its runtime what nobody refers to any more. Nobody counts the
# references of arrays that come to kernels, so it is never called.
_END = "NRT_MemInfo_call_dtor"
_NEVER = f"define void @{_END}(ptr %what) {{ ret void }}"


def compiled(function: _F) -> _F:
    """``function`` as machine code; no fastmath, no bounds checks."""
    return cast(_F, njit(error_model="numpy")(function))


def inlined(function: _F) -> _F:
    """``function`` to be called from compiled ones and always merged into them."""
    return cast(_F, njit(forceinline=True, error_model="numpy")(function))


def emitted(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` gives the LLVM code that compiled ones run where they call it."""
    return cast(Callable[..., Any], intrinsic(function))


def object_code(function: Any, kinds: tuple[Any, ...]) -> bytes:
    """The machine code of a compiled function for arguments of these types, and of all it calls.

    An object file with one function, ``ENTRY``: it takes the address of the arguments, eight bytes
    each, and returns 0.
    """
    signature = tuple(map(_type, kinds))
    function.compile(signature)
    result = function.overloads[signature]
    machine = result.library.codegen._tm
    module = llvm.parse_assembly(result.library.get_llvm_str())
    module.link_in(llvm.parse_assembly(_entry(module.get_function(result.fndesc.mangled_name))))
    if any(each.name == _END for each in module.functions):
        module.link_in(llvm.parse_assembly(_NEVER))
    for each in module.functions:
        if not each.is_declaration and each.name != ENTRY:
            each.linkage = "internal"
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.PipelineTuningOptions()))
    wanted = {each.name for each in module.functions if each.is_declaration} - _LIBRARY
    if unknown := sorted(name for name in wanted if not name.startswith("llvm.")):
        raise ValueError(f"kernel {function.__name__} needs numba at work: {', '.join(unknown)}")
    return cast(bytes, machine.emit_object(module))


def _entry(function: Any) -> str:
    """LLVM code of ``ENTRY``, which calls the function as numba does.

    Before its arguments come the addresses of a result, which is nothing, and of an exception.
    """
    kinds = [str(argument.type) for argument in function.arguments]
    given = list(enumerate(kinds[2:]))
    loads = "".join(
        f"%p{i} = getelementptr i64, ptr %arguments, i64 {i}\n%v{i} = load {kind}, ptr %p{i}\n"
        for i, kind in given
    )
    values = "".join(f", {kind} %v{i}" for i, kind in given)
    return f"""
declare i32 @{function.name}({", ".join(kinds)})
define i32 @{ENTRY}(ptr %arguments) {{
%result = alloca ptr
%exception = alloca ptr
{loads}
%status = call i32 @{function.name}(ptr %result, ptr %exception{values})
ret i32 %status
}}
"""


def _type(kind: Any) -> Any:
    """numba's name of a type of ``kernels.py``."""
    if isinstance(kind, Array):
        return types.Array(from_dtype(kind.dtype), kind.ndim, "C")
    if isinstance(kind, tuple):
        named = type(kind) if hasattr(kind, "_fields") else None
        return cast(Any, types.BaseTuple).from_types([_type(each) for each in kind], named)
    return {INT: types.int64, BOOL: types.boolean}[kind]
