# Airflow with tbseg: every component of a deployment runs this image. See docs/images.md.
# The slim variant has no providers: the locks say which ones, and which versions.
FROM docker.io/apache/airflow:slim-3.3.2-python3.11

USER root
# Group 0 may write, so that the containers can run as any user: the one who owns the data.
RUN install -d -o 50000 -g 0 -m 2775 /opt/tbseg /opt/airflow/.airflow /data
USER 50000:0

# An environment of its own: exactly the versions of the locks, nothing of the base beside them.
ENV PATH=/opt/tbseg/bin:$PATH \
    VIRTUAL_ENV=/opt/tbseg \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /opt/airflow
COPY requirements.lock docker/airflow-extra.lock /opt/tbseg/
# --compile: each process would compile Airflow again, where the containers run as another user.
RUN python -m venv /opt/tbseg \
    && pip install --no-deps --require-hashes --only-binary=:all: --compile \
        -r /opt/tbseg/requirements.lock -r /opt/tbseg/airflow-extra.lock

COPY --chown=50000:0 pyproject.toml README.md LICENSE /opt/tbseg/source/
COPY --chown=50000:0 tbseg_ops /opt/tbseg/source/tbseg_ops
# The kernels of the engine: each container would compile them anew.
RUN pip install --no-deps --no-build-isolation --compile /opt/tbseg/source \
    && rm -rf /opt/tbseg/source \
    && pip check \
    && python -m tbseg_ops.engines.native.ahead

COPY --chown=50000:0 airflow.cfg docker/health.py ./
COPY --chown=50000:0 config config
COPY --chown=50000:0 dags dags
COPY --chown=50000:0 plugins plugins
# What the form shows at first: the volume and the classifier of the demo.
COPY --chown=50000:0 tests/reference/nuclei tests/reference/nuclei
RUN python -m compileall -q config dags plugins

# Keys come by environment (docker/compose.yaml, docker/helm-values.yaml): none is in the image, and
# without them the API server does not start. airflow.cfg names a key file: empty switches that off.
ENV AIRFLOW__API__HOST=0.0.0.0 \
    AIRFLOW__API_AUTH__JWT_PRIVATE_KEY_PATH=
