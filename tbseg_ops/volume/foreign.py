"""Formats that are not read, by the ends of their names: what they are, and what converts them."""

from pathlib import Path

from tbseg_ops.errors import InputError

_BIOFORMATS = "bfconvert IN OUT.ome.tiff (Bio-Formats), or save it as TIFF in Fiji"
_FIJI = "open it in Fiji and save it as TIFF"
_NUMPY = "tifffile.imwrite(OUT, {}, photometric='minisblack')".format
_NIFTI = "NIfTI", "nib = nibabel.load(IN); " + _NUMPY("nib.get_fdata(dtype='f4').T")
_MRC = "MRC", _NUMPY("mrcfile.mmap(IN).data")
_META = "MetaImage", _NUMPY("SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(IN))")
_FORMATS = {
    ".czi": ("a file of Zeiss", _BIOFORMATS),
    ".nd2": ("a file of Nikon", _BIOFORMATS),
    ".lif": ("a file of Leica", _BIOFORMATS),
    ".lsm": ("a file of Zeiss (LSM)", _BIOFORMATS),
    ".oir": ("a file of Olympus", _BIOFORMATS),
    ".oib": ("a file of Olympus", _BIOFORMATS),
    ".vsi": ("a file of Olympus", _BIOFORMATS),
    ".nrrd": ("NRRD", _FIJI),
    ".nhdr": ("NRRD", _FIJI),
    ".nii": _NIFTI,
    ".nii.gz": _NIFTI,
    ".mrc": _MRC,
    ".rec": _MRC,
    ".mha": _META,
    ".mhd": _META,
    ".npy": ("an array of NumPy", _NUMPY("numpy.load(IN)")),
    ".vtk": ("VTK", "open it in ParaView or Fiji and save it as TIFF"),
    ".am": ("Amira", _FIJI),
    ".jp2": ("JPEG 2000", "convert each slice: imagecodecs or opj_decompress -i IN -o OUT.tif"),
    ".png": ("PNG", "convert each slice: mogrify -format tif *.png (ImageMagick)"),
    ".jpg": ("JPEG", "convert each slice: mogrify -format tif *.jpg (ImageMagick)"),
    ".bmp": ("BMP", "convert each slice: mogrify -format tif *.bmp (ImageMagick)"),
    ".raw": ("bytes without a header", "File > Import > Raw in Fiji, then save it as TIFF"),
}


def known_elsewhere(name: str, where: str) -> InputError | None:
    """The error for a file of another format; None if the end of its name says nothing."""
    lower = Path(name).name.lower()
    for suffix, (what, how) in sorted(_FORMATS.items(), key=lambda item: -len(item[0])):
        if lower.endswith(suffix):
            return InputError(
                f"this is {what}, which is not read",
                file=where,
                expected="TIFF, HDF5, Imaris, Zarr or N5",
                found=Path(name).name,
                mend=f"convert it, for example: {how}",
            )
    return None
