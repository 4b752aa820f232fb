# tbseg with Debian's Open MPI, and a parallel h5py beside it, without Airflow. See docs/images.md.
FROM docker.io/library/debian:bookworm-slim AS build

RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        gcc libc6-dev libhdf5-openmpi-dev libopenmpi-dev python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /build
COPY docker/mpi-build.lock docker/mpi.lock ./
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    CC=mpicc \
    CFLAGS="-O1 -g0"
RUN python3 -m venv /opt/tbseg \
    && pip="/opt/tbseg/bin/pip install --no-deps --require-hashes --only-binary=:all:" \
    && $pip -r mpi-build.lock \
    && $pip --no-binary=mpi4py --no-build-isolation -r mpi.lock
# Apart from tbseg's own h5py: Debian's HDF5 1.10 lacks what tbseg uses (H5Dchunk_iter). Without
# build isolation, else h5py would first build an mpi4py of its own.
RUN awk '/^[^ ]/ { found = /^h5py==/ } found' mpi.lock > h5py.lock \
    && export HDF5_MPI=ON HDF5_DIR="/usr/lib/$(gcc -dumpmachine)/hdf5/openmpi" \
    && /opt/tbseg/bin/pip install --no-deps --require-hashes --no-binary=h5py --no-build-isolation \
        --target=/opt/h5py-mpi -r h5py.lock

COPY pyproject.toml README.md LICENSE ./
COPY tbseg_ops tbseg_ops
# The tools go again; tests of packages are a tenth of the image and never run here.
# The kernels of the engine: each container would compile them anew.
RUN /opt/tbseg/bin/pip install --no-deps --no-build-isolation . \
    && cd / && /opt/tbseg/bin/python -m tbseg_ops.engines.native.ahead \
    && /opt/tbseg/bin/pip uninstall -y cython packaging pkgconfig setuptools wheel pip \
    && find /opt/tbseg/lib /opt/h5py-mpi -type d -name tests -prune -exec rm -rf {} +


FROM docker.io/library/debian:bookworm-slim

# The sshd is for ranks in other containers. Its package makes host keys, which no image may have.
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        libhdf5-openmpi-103-1 libhdf5-openmpi-hl-100 openmpi-bin openssh-client openssh-server \
        python3 \
    && rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_* \
    && useradd --uid 1000 --user-group --create-home tbseg
COPY --from=build /opt/tbseg /opt/tbseg
# For programs that write one file by all ranks: PYTHONPATH=/opt/h5py-mpi python ...
COPY --from=build /opt/h5py-mpi /opt/h5py-mpi
# Ranks on one host copy through shared memory: a container may not read another process.
# Binding would give a rank one core, and the first rank of every container on a host the same one.
# More ranks than cores are refused without the last: a container's share may be less than a core.
ENV PATH=/opt/tbseg/bin:$PATH \
    OMPI_MCA_btl_vader_single_copy_mechanism=none \
    OMPI_MCA_hwloc_base_binding_policy=none \
    OMPI_MCA_rmaps_base_oversubscribe=1
USER 1000:1000
WORKDIR /data
CMD ["tbseg", "--help"]
