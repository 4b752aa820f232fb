"""tbseg: exact, restartable classification of terabyte volumes with ilastik's classifiers."""

__version__ = "0.2.0"
