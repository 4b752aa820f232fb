"""audit: is this volume whole, and does this classifier fit it? Reads headers, writes nothing."""

from tbseg_ops.classifier import Passport, read_passport
from tbseg_ops.stored import Stored
from tbseg_ops.volume import VolumeInfo, open_source


class Audit(Stored):
    """What was found; ``first`` and ``last`` name the slices at both ends in z order."""

    volume: VolumeInfo
    first: str
    last: str
    warnings: tuple[str, ...]
    classifier: Passport | None


def audit(*, volume: str, classifier: str | None = None) -> Audit:
    """Check headers, order and completeness of ``volume`` and its fit to ``classifier``.

    InputError names the slice or the part of the classifier that is wrong.
    """
    passport = read_passport(classifier) if classifier is not None else None
    with open_source(volume) as source:
        if passport is not None:
            passport.check_volume(source.info.shape, source.info.channels)
        return Audit(
            volume=source.info,
            first=source.slices[0],
            last=source.slices[-1],
            warnings=(
                *source.warnings,
                *(passport.notes_for(source.info.shape) if passport else ()),
            ),
            classifier=passport,
        )
