# The router as an image. Envoy is not in it: run the official one beside it, with the bootstrap
# that `headrace envoy-config` prints. How to run this image: docs/container.md
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml requirements.txt README.md LICENSE ./
COPY capper capper
COPY fleet fleet
COPY headrace headrace
COPY loadtest loadtest
COPY router router
COPY telemetry telemetry
# Wheels first and the installation without an index second, so that nothing gets in unpinned.
RUN python -m pip wheel --no-cache-dir --constraint requirements.txt --wheel-dir /wheels . \
 && python -m venv --without-pip /opt/headrace \
 && python -m pip --python /opt/headrace/bin/python install \
      --no-cache-dir --no-index --find-links /wheels headrace \
 && /opt/headrace/bin/headrace --version

FROM ${BASE} AS runtime
LABEL org.opencontainers.image.title="headrace" \
      org.opencontainers.image.description="Power-aware router of LLM requests for Envoy (ext_proc)" \
      org.opencontainers.image.licenses="Apache-2.0"
# The base image's own pip is of no use to a router, only to who breaks into one. /run/headrace is
# for the socket that Envoy connects to; a volume mounted there takes over its owner.
RUN python -m pip uninstall --yes --quiet pip setuptools wheel \
 && install --directory --owner=65532 --group=65532 --mode=0750 /run/headrace
COPY --from=build /opt/headrace /opt/headrace
# Byte code was compiled in the build stage; at run time the root file system may be read-only.
ENV HOME=/tmp \
    PATH=/opt/headrace/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# nobody in particular; a number, so that Kubernetes can check runAsNonRoot.
USER 65532:65532
WORKDIR /etc/headrace
# Plain Docker looks here; Kubernetes ignores it and asks as docs/container.md says.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD \
  ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9090/readyz', timeout=2)"]
ENTRYPOINT ["headrace"]
CMD ["serve", "--config", "/etc/headrace/serve.yaml"]
