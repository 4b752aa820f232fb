"""A stand-in for the program ilastik: takes its headless command line, behaves well or badly.

    python fake_ilastik.py [--fake-mode MODE] [--fake-note FILE] [--fake-starts FILE] OPTIONS

Like the real one (1.4.3) it logs its session below its home and does not start without the folder
for that, loads the pickles of the project, warns of options that it does not know, and ends with a
traceback and exit code 1 if something is wrong; of what goes wrong once the project is being opened
the traceback holds ``loadProject``. Of several volumes it writes one output after the other.
MODE chooses what it does, with the last of them; the default, ``native``, computes probabilities by
engine native, ``ramp`` cheap ones from the grey values alone. The note receives, as JSON, what the
program saw of the world; of starts a line each, with the number of volumes.
"""

import argparse
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

import h5py
import numpy as np

VERSION = "1.4.9"


def main():
    parser = argparse.ArgumentParser(prog="ilastik")
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument("--fake-mode", default="native")
    parser.add_argument("--fake-note", type=Path)
    parser.add_argument("--fake-starts", type=Path)
    parser.add_argument("--fake-port", type=int)
    parser.add_argument("--headless", action="store_true")
    parser.add_argument("--readonly", nargs="?", const="1")
    parser.add_argument("--project")
    args, rest = parser.parse_known_args()

    workflow = argparse.ArgumentParser(prog="ilastik")
    for name in ("cutout_subregion", "pipeline_result_drange", "export_drange", "stack_along"):
        workflow.add_argument(f"--{name}")
    workflow.add_argument("--export_dtype", choices=["uint8", "float32"])
    workflow.add_argument("--output_axis_order")
    workflow.add_argument("--output_format", choices=["hdf5", "compressed hdf5", "tiff"])
    workflow.add_argument("--output_filename_format")
    workflow.add_argument("--output_internal_path")
    workflow.add_argument("--export_source")
    workflow.add_argument("--raw_data", "--raw-data", nargs="+")
    workflow.add_argument("--input_axes", "--input-axes")
    workflow.add_argument("--ignore_training_axistags", action="store_true")
    if args.fake_mode == "old":
        workflow.add_argument("--unheard-of")
        rest = [f"--un{word[2:]}" if word.startswith("--input_axes") else word for word in rest]
    options, unused = workflow.parse_known_args(rest)

    session_log()
    print(f"INFO ilastik.app: Starting fake ilastik {VERSION}", flush=True)
    if args.fake_mode == "start":
        raise RuntimeError("Could not determine the number of cores")
    loadProject(args, options, unused)


def session_log():
    """Into a folder that somebody else has to make, as logging's own handlers want it."""
    folder = Path.home() / ".local/state/ilastik/log"
    try:
        (folder / time.strftime("log_%Y%m%d_%H%M%S.txt")).write_text("what ilastik itself logs\n")
    except OSError as error:
        raise ValueError("Unable to configure handler 'session_file'") from error


def loadProject(args, options, unused):
    if unused:
        print(f"WARNING pixelClassificationWorkflow: Unused command-line args: {unused}")
    assert args.headless
    assert args.readonly == "1"
    with h5py.File(args.project, "r") as file:
        two_stages = file["workflowName"][()] == b"AutocontextTwoStage"
    assert options.export_source == ("Probabilities Stage 2" if two_stages else "Probabilities")
    assert options.output_format == "hdf5"
    load_pickles(args.project)
    if args.fake_note:
        note(args, options)
    if args.fake_starts:
        with args.fake_starts.open("a") as file:
            file.write(f"{len(options.raw_data)}\n")
    compute = {"native": native}.get(args.fake_mode, ramp)
    for number, path in enumerate(options.raw_data, start=1):
        mode = args.fake_mode if number == len(options.raw_data) else ""
        before(mode)
        raw, axes = read_raw(path, options)
        probabilities = compute(args.project, raw)
        nickname = f"{Path(path).parent.stem}-{Path(path).name}"
        output = Path(options.output_filename_format.format(nickname=nickname))
        after(mode, probabilities.astype(options.export_dtype), options, axes, output)
    print("INFO pixelClassificationWorkflow: Completed Batch Processing")


def load_pickles(project):
    """As ilastik up to 1.4.0 does: load whatever is there."""
    for module, name in [
        ("parallelVigraRfLazyflowClassifier", "ParallelVigraRfLazyflowClassifier"),
        ("parallelVigraRfLazyflowClassifier", "ParallelVigraRfLazyflowClassifierFactory"),
    ]:
        path = f"lazyflow.classifiers.{module}"
        for prefix in ("lazyflow", "lazyflow.classifiers", path):
            sys.modules.setdefault(prefix, types.ModuleType(prefix))
        setattr(sys.modules[path], name, type(name, (), {"__module__": path}))
    with h5py.File(project, "r") as file:
        group = file["PixelClassification"]
        stored = [group["ClassifierFactory"], group["ClassifierForests/pickled_type"]]
        stored += group["Bookmarks"].values() if "Bookmarks" in group else []
        for dataset in stored:
            value = dataset[()]
            pickle.loads(value if isinstance(value, bytes) else value.tobytes())


def note(args, options):
    """What can be seen from in here."""
    connected = False
    if args.fake_port:
        with socket.socket() as client:
            client.settimeout(2)
            connected = client.connect_ex(("127.0.0.1", args.fake_port)) == 0
    grandchild = None
    if "hang" in args.fake_mode:
        sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
        grandchild = subprocess.Popen(sleep, start_new_session=True).pid
    folder = Path(args.project).parent
    with h5py.File(args.project, "r") as project:
        groups = {name: sorted(project[name]) for name in project if hasattr(project[name], "keys")}
    seen = {
        "argv": sys.argv,
        "cwd": os.getcwd(),
        "environ": dict(os.environ),
        "files": sorted(path.name for path in folder.iterdir()),
        "folder": str(folder),
        "folder_mode": folder.stat().st_mode & 0o777,
        "groups": groups,
        "input_axes": options.input_axes,
        "pids": [os.getpid(), grandchild],
        "connected": connected,
        "stdin": sys.stdin.read(),
    }
    draft = args.fake_note.with_suffix(".draft")
    draft.write_text(json.dumps(seen))
    draft.replace(args.fake_note)


def before(mode):
    if mode == "segment":
        raise ImportError("libgfortran.so.5.0.0: failed to map segment from shared object")
    if mode == "fail":
        raise RuntimeError("All feature images must have the same number of channels")
    if mode == "broken":
        raise ModuleNotFoundError("No module named 'vigra'")
    if mode == "disk":
        raise OSError(28, "No space left on device")
    if mode == "memory":
        np.ones(1 << 36, np.uint8)
    if mode == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "hang-stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if mode.startswith("hang"):
        time.sleep(600)
    if mode == "retrain":
        print("DEBUG classifierOperators: Training new classifier: Parallel Vigra Random Forest")


def read_raw(path, options):
    external, _, internal = path.partition(".h5/")
    with h5py.File(external + ".h5", "r") as file:
        dataset = file[internal]
        axes = "".join(axis["key"] for axis in json.loads(dataset.attrs["axistags"])["axes"])
        assert axes == options.input_axes
        assert dataset.ndim == len(axes)
        raw = dataset[()]
    return (raw[None], axes) if axes == "yxc" else (raw, axes)


def native(project, raw):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from tbseg_ops.classifier import read_passport
    from tbseg_ops.engines import load_engine
    from tbseg_ops.geometry import Box

    shape = raw.shape[:3]
    engine = load_engine("native", read_passport(project), volume_shape=shape)
    return np.moveaxis(engine.predict(raw, Box((0, 0, 0), shape)), 0, -1)


def ramp(project, raw):
    """The grey value as the probability of the last label; the rest goes to the first."""
    with h5py.File(project, "r") as file:
        labels = len(file["PixelClassification/LabelNames"])
    result = np.zeros((*raw.shape[:3], labels), np.float32)
    result[..., -1] = raw[..., 0].astype(np.float32) / np.float32(np.iinfo(raw.dtype).max)
    result[..., 0] = 1 - result[..., -1]
    return result


def after(mode, values, options, axes, path):
    """Write the output, or something else."""
    assert options.output_axis_order == axes.rjust(4, "z")
    if mode == "nothing":
        return
    if mode == "garbage":
        path.write_bytes(b"no HDF5 file")
        return
    if mode == "elsewhere":
        path.symlink_to("/etc/passwd")
        return
    if mode == "shape":
        values = values[1:]
    elif mode == "channels":
        values = np.concatenate([values, values[..., :1] * 0], axis=-1)
    elif mode == "uint8":
        values = (values * 255).astype(np.uint8)
    elif mode == "nan":
        values[tuple(n // 2 for n in values.shape[:3])] = np.nan
    elif mode == "range":
        values[tuple(n // 2 for n in values.shape[:3])] = [-1, *[0] * (values.shape[-1] - 2), 2]
    elif mode == "sum":
        values *= np.float32(0.5)
    elif mode == "zero":
        values[tuple(n // 2 for n in values.shape[:3])] = 0
    with h5py.File(path, "w") as file:
        if mode == "link":
            file[options.output_internal_path] = h5py.ExternalLink("raw000.h5", "/data")
        elif mode == "virtual":
            layout = h5py.VirtualLayout(values.shape, values.dtype)
            file.create_virtual_dataset(options.output_internal_path, layout)
        else:
            name = "elsewhere" if mode == "name" else options.output_internal_path
            file.create_dataset(name, data=values)
    if mode == "late":  # after the output was written
        raise RuntimeError("could not close the project")


if __name__ == "__main__":
    main()
