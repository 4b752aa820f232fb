"""What started this process: alone, or as one of several by a launcher such as mpiexec or srun."""

import os

OPEN_MPI = "mpirun of Open MPI"

# A variable for each launcher that tells how many processes it started; and what it is.
_SIZES = {
    "PMI_SIZE": "mpiexec of MPICH or Intel MPI, or srun --mpi=pmi2",
    "OMPI_COMM_WORLD_SIZE": OPEN_MPI,
    "MV2_COMM_WORLD_SIZE": "mpiexec of MVAPICH",
    "MPI_LOCALNRANKS": "mpiexec of MPICH or Intel MPI",
    "SLURM_STEP_NUM_TASKS": "srun",
    "PALS_SIZE": "mpiexec of PALS",
}
_RANKS = {"PMIX_RANK": "a launcher by PMIx", "PALS_RANKID": "mpiexec of PALS"}


def launched() -> tuple[int, str]:
    """How many processes a launcher started beside this one, itself included, and which one.

    1 without a launcher. A rank above 0 says that there are others, if not how many.
    """
    for name, launcher in _SIZES.items():
        size = os.environ.get(name, "")
        if size.isdigit() and int(size) > 1:
            return int(size), launcher
    for name, launcher in _RANKS.items():
        rank = os.environ.get(name, "")
        if rank.isdigit() and int(rank) > 0:
            return int(rank) + 1, launcher
    return 1, ""


def under_mpi() -> bool:
    """Whether a launcher started this process with others."""
    return launched()[0] > 1
