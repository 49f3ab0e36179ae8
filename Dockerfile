FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE deploy/constraints.txt ./
# The same versions whenever it is built.
ENV PIP_CONSTRAINT=/src/constraints.txt
COPY src src
COPY data data
COPY schemas schemas
# All that a command may need but [broker], which brings a Java. For the deployments of `deploy`,
# `--build-arg EXTRAS=metrics` is enough, and makes the image smaller.
ARG EXTRAS=images,metrics,notify,parquet,plot,simulate,sky
# What `alertstream --version` says: git, which knows it, is not there.
ARG VERSION=
# The folder goes into the image below as it is, so this stage's pip fills it from outside and leaves
# no pip there.
RUN python -m venv --without-pip /opt/alertstream \
    && SETUPTOOLS_SCM_PRETEND_VERSION=$VERSION pip --python /opt/alertstream/bin/python install --no-cache-dir ".[$EXTRAS]"

FROM python:3.13-slim
COPY --from=build /opt/alertstream /opt/alertstream
ENV PATH=/opt/alertstream/bin:$PATH
# A number, so that Kubernetes can see that it is not root; no home or name is needed.
USER 1000:1000
WORKDIR /data
# Without a shell before it, SIGTERM reaches the program, which then ends in an orderly way.
ENTRYPOINT ["alertstream"]
