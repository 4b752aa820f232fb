"""ilastik pixel classifiers: what a project file (.ilp) holds, read without trusting it."""

from tbseg_ops.classifier.passport import Feature, Passport, read_passport

__all__ = ["Feature", "Passport", "read_passport"]
