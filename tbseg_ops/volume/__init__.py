"""Reading volumes: folders of TIFF slices, TIFF files, HDF5 datasets."""

from tbseg_ops.volume.opening import open_mask, open_planned, open_source
from tbseg_ops.volume.source import Slices, Source, VolumeInfo

__all__ = ["Slices", "Source", "VolumeInfo", "open_mask", "open_planned", "open_source"]
