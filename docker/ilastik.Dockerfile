# tbseg with the program ilastik, for --engine ilastik. See docs/images.md, docs/engine-ilastik.md.
FROM docker.io/mambaorg/micromamba:2.3.2-debian13-slim

# ilastik without its GUI, from its own channel; what it is made of comes from conda-forge.
RUN micromamba create --yes --name ilastik --channel ilastik-forge --channel conda-forge \
        ilastik-core=1.4.2 \
    && micromamba create --yes --name tbseg --channel conda-forge python=3.11 pip \
    && micromamba clean --all --yes

# tbseg has an environment of its own: its versions are those of the locks, not ilastik's.
ENV PATH=/opt/conda/envs/tbseg/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /home/mambauser
COPY --chown=57439:57439 docker/mpi.lock docker/mpi-build.lock ./
# The lock of the MPI image is tbseg's own; here its wheels do, since ranks are not used.
RUN pip install --no-deps --require-hashes --only-binary=:all: -r mpi.lock -r mpi-build.lock
COPY --chown=57439:57439 pyproject.toml README.md LICENSE ./
COPY --chown=57439:57439 tbseg_ops tbseg_ops
RUN pip install --no-deps --no-build-isolation .

ENV TBSEG_ILASTIK="/opt/conda/envs/ilastik/bin/python -m ilastik"
# The build fails here rather than the first tile.
RUN $TBSEG_ILASTIK --version && tbseg --version

USER 57439:57439
WORKDIR /data
CMD ["tbseg", "--help"]
