"""Reading volumes: folders of TIFF slices, TIFF files, HDF5 datasets."""

from tbseg_ops.volume.opening import open_source
from tbseg_ops.volume.source import Slab, Source, VolumeInfo

__all__ = ["Slab", "Source", "VolumeInfo", "open_source"]
