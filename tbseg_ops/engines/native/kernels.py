"""Kernels: machine code that is kept on disk, and called without the compiler.

numba compiles a kernel (``jit.py``) once for a processor. What comes out is an object file without
any need of numba, so that a process which finds it there does not import numba: 0.3 s of each one.

The files lie in a folder named by the digest of all sources that can change them. Where no folder
can be written (a read-only container) kernels are compiled anew in each process. Images bring them
along (``ahead.py``), for levels of processors instead of one processor.
"""

import ctypes
import hashlib
import os
import platform
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any, cast

import llvmlite
import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

import tbseg_ops
from tbseg_ops.errors import ResourceError, TbsegError
from tbseg_ops.storage.cache import cache_home, sources_digest
from tbseg_ops.storage.sealed import get_sealed, put_sealed

SHIPPED = Path(__file__).parent / "shipped"
"""The folder of kernels that came with an image."""

# As the compiler names them, and what a processor of the level has; the highest one first. Below
# them there is no fused multiply-add: so slow that nobody brings kernels along for it.
_HASWELL = frozenset({"avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"})
LEVELS = {
    "x86-64-v4": _HASWELL | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86-64-v3": _HASWELL,
}
ENTRY = "tbseg_kernel"
"""The function in each object file."""
KERNELS: list["Kernel"] = []
COMPILED: list[str] = []
"""Names of the kernels that this process had to compile."""

_LOCK = Lock()
_LINKERS: list[Any] = []


@dataclass(frozen=True)
class Array:
    """The type of a C-contiguous array."""

    dtype: np.dtype[Any]
    ndim: int = 1

    @classmethod
    def of(cls, name: str, ndim: int = 1) -> Any:
        return cls(np.dtype(name), ndim)


# The other types of arguments. A tuple of types is the type of a tuple, named or not.
INT: Any = int
BOOL: Any = bool
FLOATS = Array.of("float32")
INTS = Array.of("int64")


class Kernel:
    """A function that numba compiles, by the name of its module below ``tbseg_ops`` and its own.

    It is called with arguments of the given types (TypeError), returns nothing, allocates nothing
    and raises nothing, and runs without the GIL.
    """

    def __init__(self, module: str, name: str, *types: Any) -> None:
        self.module, self.name, self.types = f"tbseg_ops.{module}", name, types
        self._call: Callable[[int], int] | None = None
        self._made_of = self._digest(_sources())  # as its callers are, whatever comes later
        KERNELS.append(self)

    def _digest(self, sources: bytes) -> str:
        """Of all that makes its machine code, but the processor."""
        path = Path(tbseg_ops.__file__).parents[1].joinpath(*self.module.split("."))
        own = path.with_suffix(".py").read_bytes()
        parts = sources, own, repr(self.types).encode()
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]

    def __call__(self, *arguments: Any) -> None:
        call = self._call or self.load()
        numbers: list[int] = []
        _flatten(self.types, arguments, numbers)
        packed = array("q", numbers)
        if call(packed.buffer_info()[0]):
            raise RuntimeError(f"kernel {self.name} failed")

    def compiled(self) -> bytes:
        """By numba, now."""
        from tbseg_ops.engines.native.jit import object_code

        COMPILED.append(self.name)
        return object_code(getattr(import_module(self.module), self.name), self.types)

    def path(self, folder: Path) -> Path:
        """Of its object file in a folder of kernels."""
        return folder / f"tbseg-kernels-{self._made_of}" / f"{self.name}.o"

    def load(self) -> Callable[[int], int]:
        """From the disk, or compiled and kept there.

        ResourceError if the sources to compile are no longer those of this process.
        """
        with _LOCK:
            if self._call is None:
                found = next(filter(None, map(get_sealed, self._places())), None)
                if found is None:
                    found = self.compiled()
                    if self._digest(_sources.__wrapped__()) != self._made_of:
                        raise ResourceError(
                            "tbseg was updated while it worked", mend="give the same command again"
                        )
                    _keep(found, [self.path(folder) for folder in _own_folders()])
                self._call = _linked(found)
            return self._call

    def _places(self) -> Iterator[Path]:
        for folder in _own_folders():
            yield self.path(folder)
        if level := _shipped_level():
            yield self.path(SHIPPED / level)


def _flatten(types: tuple[Any, ...], arguments: tuple[Any, ...], numbers: list[int]) -> None:
    """The arguments as numba's functions are called with them: whole numbers and addresses.

    An array: nobody who counts its references, size, bytes of an element, address, shape, strides.
    """
    for kind, value in zip(types, arguments, strict=True):
        if type(kind) is Array:
            fits = value.dtype == kind.dtype and value.ndim == kind.ndim
            if not fits or not value.flags.c_contiguous:
                raise TypeError(f"{kind} is not an array {value.dtype} of shape {value.shape}")
            numbers += (0, 0, value.size, value.itemsize, _address(value))
            numbers += value.shape
            numbers += value.strides
        elif kind is INT or kind is BOOL:
            numbers.append(value)
        else:
            _flatten(kind, value, numbers)


def _address(values: NDArray[Any]) -> int:
    """Of the first element; by a buffer, where there is one, which is eight times as fast."""
    if values.size and values.flags.writeable:
        return ctypes.addressof(ctypes.c_char.from_buffer(cast(Any, values)))
    return values.ctypes.data


def _processor() -> tuple[str, str]:
    """Its name and features as the compiler knows them, or those asked for by numba's variables."""
    name = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
    features = os.environ.get("NUMBA_CPU_FEATURES")
    return name, llvm.get_host_cpu_features().flatten() if features is None else features


def made_for_avx2() -> bool:
    """Whether a kernel compiled now is for a processor that has AVX2 and no AVX-512."""
    name, features = _processor()
    if not features:
        return name == "x86-64-v3"
    has = features.split(",")
    return "+avx2" in has and "+avx512f" not in has


def _shipped_level() -> str | None:
    """Of kernels that came along: the highest that this processor has, if no other is asked for."""
    if "NUMBA_CPU_NAME" in os.environ or not SHIPPED.is_dir():
        return None
    return highest_level()


@cache
def highest_level() -> str | None:
    """Of those that this processor has."""
    has = {feature for feature, there in llvm.get_host_cpu_features().items() if there}
    return next((level for level, needed in LEVELS.items() if needed <= has), None)


@cache
def _sources() -> bytes:
    """A digest of what all kernels depend on: the engine's sources, and who compiles them."""
    digest = sources_digest(Path(__file__).parent)
    digest.update(f"{version('numba')} {llvmlite.__version__}".encode())
    return digest.digest()


@cache
def _own_folders() -> list[Path]:
    """Where this user may keep kernels for this processor, the best first."""
    own = os.environ.get("NUMBA_CACHE_DIR")
    places = [Path(own)] if own else [Path(__file__).parent / "__pycache__", cache_home()]
    words = "\0".join((platform.machine(), *_processor()))
    name = f"tbseg-kernels-{hashlib.sha256(words.encode()).hexdigest()[:8]}"
    return [place / name for place in places if place is not None]


def _keep(code: bytes, places: list[Path]) -> None:
    """In the first folder that can be written."""
    for path in places:
        with suppress(OSError, TbsegError):
            write(code, path)
            return


def write(code: bytes, path: Path) -> None:
    """OSError or TbsegError if it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    put_sealed(path, code)


def _linked(code: bytes) -> Callable[[int], int]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple().create_target_machine(jit=True)
    linker = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target)
    linker.add_object_file(llvm.ObjectFileRef.from_data(code))
    linker.finalize_object()
    _LINKERS.append(linker)  # the code goes with it
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)
    return cast(Callable[[int], int], function(linker.get_function_address(ENTRY)))
