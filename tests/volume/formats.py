"""One volume (z, y, x) in every format that is read. Each writer gives what a user would name."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import tensorstore
from numpy.typing import NDArray

from tests.synthetic import write_stack

SIZE = (2.0, 0.65, 0.5)  # micrometres, z, y, x: of the formats that tell it
_CHUNK = [8, 16, 16]


def _stored(driver: str, path: Path, volume: NDArray[Any], metadata: dict[str, Any]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    spec: dict[str, Any] = {"driver": driver, "kvstore": {"driver": "file", "path": str(path)}}
    spec |= {"metadata": metadata, "create": True, "delete_existing": True}
    array = tensorstore.open(spec, dtype=volume.dtype, shape=volume.shape).result()
    array.write(volume).result()


def zarr2(
    folder: Path, volume: NDArray[Any], name: str = "v.zarr", chunk: Sequence[int] = _CHUNK
) -> Path:
    codec = {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}
    _stored("zarr", folder / name, volume, {"chunks": list(chunk), "compressor": codec})
    return folder / name


def zarr3(folder: Path, volume: NDArray[Any], name: str = "v.zarr", **more: Any) -> Path:
    zstd = {"name": "zstd", "configuration": {"level": 1}}
    inner = {"chunk_shape": _CHUNK, "codecs": [{"name": "bytes"}, zstd]}
    shards = {"name": "regular", "configuration": {"chunk_shape": [16, 32, 32]}}
    sharding = {"name": "sharding_indexed", "configuration": inner}
    _stored("zarr3", folder / name, volume, {"chunk_grid": shards, "codecs": [sharding], **more})
    return folder / name


def zarr3_named(folder: Path, volume: NDArray[Any]) -> Path:
    """Stored x, y, z, which its dimension names say."""
    stored = np.ascontiguousarray(volume.transpose(2, 1, 0))
    return zarr3(folder, stored, dimension_names=["x", "y", "z"])


def _multiscales(size: tuple[float, ...] = SIZE) -> list[dict[str, Any]]:
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    levels = [
        {
            "path": str(n),
            "coordinateTransformations": [{"type": "scale", "scale": [s * 2**n for s in size]}],
        }
        for n in range(2)
    ]
    return [{"axes": axes, "datasets": levels, "name": "v"}]


def ome_zarr_04(folder: Path, volume: NDArray[Any], chunk: Sequence[int] = _CHUNK) -> Path:
    path = folder / "v.ome.zarr"
    zarr2(path, volume, "0", chunk)
    zarr2(path, np.ascontiguousarray(volume[::2, ::2, ::2]), "1", chunk)
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    image = [image | {"version": "0.4"} for image in _multiscales()]
    (path / ".zattrs").write_text(json.dumps({"multiscales": image}))
    return path


def ome_zarr_05(folder: Path, volume: NDArray[Any]) -> Path:
    path = folder / "v.ome.zarr"
    zarr3(path, volume, "0")
    zarr3(path, np.ascontiguousarray(volume[::2, ::2, ::2]), "1")
    ome = {"version": "0.5", "multiscales": _multiscales()}
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
    (path / "zarr.json").write_text(json.dumps(group))
    return path


def n5(folder: Path, volume: NDArray[Any], name: str = "v.n5", **more: Any) -> Path:
    """x comes first, which nobody has to say."""
    stored = volume.transpose(2, 1, 0)
    metadata = {
        **{"dimensions": stored.shape, "blockSize": _CHUNK[::-1], "dataType": volume.dtype.name},
        **{"compression": {"type": "gzip"}, **more},
    }
    _stored("n5", folder / name, stored, metadata)
    return folder / name


def n5_scales(folder: Path, volume: NDArray[Any]) -> Path:
    path = folder / "v.n5"
    unit: dict[str, Any] = {"pixelResolution": {"unit": "um", "dimensions": SIZE[::-1]}}
    for level, part in enumerate((volume, volume[::2, ::2, ::2])):
        n5(path, np.ascontiguousarray(part), f"s{level}")
        file = path / f"s{level}" / "attributes.json"
        factors = {"downsamplingFactors": [2**level] * 3}
        file.write_text(json.dumps(json.loads(file.read_text()) | unit | factors))
    (path / "attributes.json").write_text('{"n5": "2.5.0"}')
    return path


def imaris(folder: Path, volume: NDArray[Any], channels: int = 1) -> Path:
    """Datasets are padded with zeros to whole chunks; text is an array of characters."""
    path = folder / "v.ims"
    with h5py.File(path, "w") as file:
        for level, part in enumerate((volume, volume[::2, ::2, ::2])):
            for channel in range(channels):
                at = f"DataSet/ResolutionLevel {level}/TimePoint 0/Channel {channel}"
                group = file.create_group(at)
                padded = np.zeros([-(-n // c) * c for n, c in zip(part.shape, _CHUNK, strict=True)])
                padded[tuple(map(slice, part.shape))] = part + channel
                stored = padded.astype(volume.dtype)
                group.create_dataset("Data", data=stored, chunks=tuple(_CHUNK), compression=2)
                for axis, n in zip("ZYX", part.shape, strict=True):
                    group.attrs[f"ImageSize{axis}"] = _characters(str(n))
        image = file.create_group("DataSetInfo/Image")
        extents = [n * s for n, s in zip(volume.shape, SIZE, strict=True)][::-1]
        for i, extent in enumerate(extents):
            image.attrs[f"ExtMin{i}"] = _characters("0")
            image.attrs[f"ExtMax{i}"] = _characters(f"{extent:.3f}")
        image.attrs["Unit"] = _characters("um")
        file["Thumbnail/Data"] = np.zeros((256, 1024), np.uint8)
    return path


def _characters(text: str) -> NDArray[Any]:
    return np.frombuffer(text.encode(), "S1")


def bigdataviewer(folder: Path, volume: NDArray[Any]) -> Path:
    """16 bit without a sign, kept in 16 bit with one."""
    path = folder / "v.h5"
    with h5py.File(path, "w") as file:
        for level, step in enumerate((1, 2)):
            part = np.ascontiguousarray(volume[::step, ::step, ::step]).view(np.int16)
            cells = f"t00000/s00/{level}/cells"
            file.create_dataset(cells, data=part, chunks=tuple(_CHUNK), compression="gzip")
        file["s00/resolutions"] = np.array([[1, 1, 1], [2, 2, 2]], float)
    return path


def _plugin(**options: Any) -> Any:
    def write(folder: Path, volume: NDArray[Any]) -> Path:
        with h5py.File(folder / "v.h5", "w") as file:
            file.create_dataset("data", data=volume, chunks=tuple(_CHUNK), **options)
        return folder / "v.h5"

    return write


def dimension_labels(folder: Path, volume: NDArray[Any]) -> Path:
    with h5py.File(folder / "v.h5", "w") as file:
        file["data"] = volume.transpose(2, 1, 0)
        for dimension, label in zip(file["data"].dims, "xyz", strict=True):
            dimension.label = label
    return folder / "v.h5"


def axistags_in_an_array(folder: Path, volume: NDArray[Any]) -> Path:
    """As MATLAB and HDFView write a text."""
    tags = json.dumps({"axes": [{"key": axis} for axis in "xyz"]})
    with h5py.File(folder / "v.h5", "w") as file:
        file["data"] = volume.transpose(2, 1, 0)
        file["data"].attrs["axistags"] = np.array([tags], h5py.string_dtype())
    return folder / "v.h5"


def stack(folder: Path, volume: NDArray[Any]) -> Path:
    return write_stack(folder / "slices", volume)


FORMATS = {
    **{"Zarr 2": zarr2, "Zarr 3, shards": zarr3, "Zarr 3, x first": zarr3_named},
    **{"OME-Zarr 0.4": ome_zarr_04, "OME-Zarr 0.5": ome_zarr_05},
    **{"N5": n5, "N5, scales": n5_scales},
    **{"Imaris": imaris, "BigDataViewer": bigdataviewer},
    "HDF5, zstd": _plugin(**hdf5plugin.Zstd()),
    "HDF5, blosc": _plugin(**hdf5plugin.Blosc()),
    "HDF5, lz4": _plugin(**hdf5plugin.LZ4()),
    "HDF5, bitshuffle": _plugin(**hdf5plugin.Bitshuffle()),
    "HDF5, labels of the dimensions": dimension_labels,
    "HDF5, axistags in an array": axistags_in_an_array,
}
SCALED = ("OME-Zarr 0.4", "OME-Zarr 0.5", "N5, scales", "Imaris", "BigDataViewer")
SIZED = ("OME-Zarr 0.4", "OME-Zarr 0.5", "N5, scales", "Imaris")
