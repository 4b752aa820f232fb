"""Which pickles may be handed to ilastik; none of them is loaded here."""

import collections
import os
import pickle

import h5py
import pytest

from tbseg_ops.engines.ilastik.pickles import LIMIT_BYTES, check_pickle
from tbseg_ops.errors import InputError
from tests.reference_sets import CLASSIFIERS

MODULE = b"clazyflow.classifiers.parallelVigraRfLazyflowClassifier\n"


class Call:
    def __reduce__(self):
        return os.mkdir, ("/nowhere/at/all",)


ALLOWED = {
    "type": MODULE + b"ParallelVigraRfLazyflowClassifier\np0\n.",
    "factory of python 2": b"ccopy_reg\n_reconstructor\np1\n(" + MODULE + b"ParallelVigraRf"
    b"LazyflowClassifierFactory\np2\nc__builtin__\nobject\np3\nNtRp4\n(dp5\nS'VERSION'\np6\nI2\n"
    b"sS'_label_proportion'\nF0.5\nsb.",
    "empty list": pickle.dumps([], 0),
}
REFUSED = {
    "call": (pickle.dumps(Call(), 0), "posix.mkdir"),
    "call, protocol 2": (pickle.dumps(Call(), 2), "posix.mkdir"),
    "call, protocol 5": (pickle.dumps(Call(), 5), "posix.mkdir"),
    "harmless class": (pickle.dumps(collections.OrderedDict(), 0), "collections.OrderedDict"),
    "another class of ilastik": (b"clazyflow.utility\nMemory\n.", "lazyflow.utility.Memory"),
    "another name of the module": (MODULE + b"os\n.", "parallelVigraRfLazyflowClassifier.os"),
    "damaged after the call": (b"cposix\nmkdir\n(S'x'\ntR\xff", "posix.mkdir"),
    "INST": (b"(S'x'\niposix\nmkdir\n.", "operation INST"),
    "persistent id": (b"Pthing\n.", "operation PERSID"),
    "extension code": (b"\x82\x01.", "operation EXT1"),
    "protocol 4 of a good type": (b"\x80\x04N.", "operation PROTO"),
    "cut": (MODULE + b"ParallelVigraRfLazyflowClassifier\np0\n", "not a whole pickle"),
    "no pickle": (b"background", "not a whole pickle"),
    "empty": (b"", "not a whole pickle"),
    "bad text": (b"c\xff\xfe\nx\n.", "not a whole pickle"),
    "absurd number": (b"I" + b"9" * 5000 + b"\n.", "not a whole pickle"),
    "huge": (b"N0" * LIMIT_BYTES + b".", "bytes"),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_allowed(name):
    check_pickle(ALLOWED[name], file="x.ilp", path="/p")


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    data, found = REFUSED[name]
    with pytest.raises(InputError, match="/p") as caught:
        check_pickle(data, file="x.ilp", path="/p")
    assert found in str(caught.value.found)


@pytest.mark.parametrize("reference", CLASSIFIERS, ids=str)
def test_those_of_real_projects(reference):
    with h5py.File(reference.classifier) as file:
        for name in ("ClassifierFactory", "ClassifierForests/pickled_type"):
            check_pickle(file["PixelClassification"][name][()], file="x.ilp", path=name)
