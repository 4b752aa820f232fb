# tbseg with Open MPI and a parallel HDF5 library, without Airflow. See docs/images.md.
# Trixie, not bookworm: bookworm's HDF5 1.10 cannot list chunks (H5Dchunk_iter), which tbseg needs.
FROM debian:trixie-slim AS build

RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        gcc libc6-dev libhdf5-openmpi-dev libopenmpi-dev python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /build
COPY docker/mpi-build.lock docker/mpi.lock ./
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
# mpi4py and h5py are made from source for Debian's Open MPI and HDF5. Without build isolation,
# else h5py would first build an mpi4py of its own; so h5py comes last, when mpi4py is there.
RUN python3 -m venv /opt/tbseg \
    && awk '/^[^ ]/ { last = /^h5py==/ } { print > (last ? "h5py.lock" : "others.lock") }' mpi.lock \
    && pip="/opt/tbseg/bin/pip install --no-deps --require-hashes" \
    && $pip --only-binary=:all: -r mpi-build.lock \
    && export CC=mpicc MPICC=mpicc CFLAGS="-O1 -g0" HDF5_MPI=ON \
        HDF5_DIR="/usr/lib/$(gcc -dumpmachine)/hdf5/openmpi" \
    && $pip --only-binary=:all: --no-binary=mpi4py --no-build-isolation -r others.lock \
    && $pip --no-binary=h5py --no-build-isolation -r h5py.lock

COPY pyproject.toml README.md LICENSE ./
COPY tbseg_ops tbseg_ops
# The tools go again; tests of packages are a tenth of the image and never run here.
RUN /opt/tbseg/bin/pip install --no-deps --no-build-isolation . \
    && /opt/tbseg/bin/pip uninstall -y cython packaging pkgconfig setuptools wheel pip \
    && find /opt/tbseg/lib -type d -name tests -prune -exec rm -rf {} +


FROM debian:trixie-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        libhdf5-openmpi-310 libhdf5-openmpi-hl-310 openmpi-bin openssh-client python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --user-group --create-home tbseg
COPY --from=build /opt/tbseg /opt/tbseg
# Ranks on one host copy through shared memory: a container may not read another process.
ENV PATH=/opt/tbseg/bin:$PATH \
    OMPI_MCA_smsc=^cma
USER 1000:1000
WORKDIR /data
CMD ["tbseg", "--help"]
