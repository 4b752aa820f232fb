"""Reading volumes: folders of TIFF slices, TIFF files, HDF5 datasets."""

from tbseg_ops.volume.info import Slab, Source, VolumeInfo
from tbseg_ops.volume.opening import open_source

__all__ = ["Slab", "Source", "VolumeInfo", "open_source"]
