"""audit: is this volume whole, and does this classifier fit it? Writes nothing.

Headers are read, and with a classifier a few slices.
"""

from tbseg_ops.classifier import Passport, read_passport
from tbseg_ops.run.fit import input_warnings
from tbseg_ops.stored import Stored
from tbseg_ops.volume import VolumeInfo, open_source
from tbseg_ops.volume.sample import sample


class Audit(Stored):
    """What was found; ``first`` and ``last`` name the slices at both ends in z order.

    ``warnings``: of the volume; ``unfit``: why it may not fit the classifier.
    """

    volume: VolumeInfo
    first: str
    last: str
    warnings: tuple[str, ...]
    classifier: Passport | None
    unfit: tuple[str, ...] = ()


def audit(*, volume: str, classifier: str | None = None) -> Audit:
    """Check headers, order and completeness of ``volume`` and its fit to ``classifier``.

    InputError names the slice or the part of the classifier that is wrong.
    """
    passport = read_passport(classifier) if classifier is not None else None
    with open_source(volume) as source:
        unfit: tuple[str, ...] = ()
        if passport is not None:
            passport.check_volume(source.info.shape, source.info.channels)
            unfit = input_warnings(passport, source.info, sample(source))
        return Audit(
            volume=source.info,
            first=source.slices[0],
            last=source.slices[-1],
            warnings=(
                *source.warnings,
                *(passport.notes_for(source.info.shape) if passport else ()),
            ),
            classifier=passport,
            unfit=unfit,
        )
