# The workflow and its locked packages, for machines without an environment of their own (docs/cloud.md).
#   docker build -t vqaflow:0.2.0 .
# CUDA comes with torch's wheels; the host gives the driver (>= 580).
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# torch compiles small kernels with gcc.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc g++ git \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/vqaflow
COPY requirements.lock ./
RUN python -m pip install --require-hashes --no-deps -r requirements.lock

COPY . ./
RUN python -m pip install --no-deps --no-build-isolation . && python -m compileall -q workflow_scripts

# Jobs run as a user without rights; data and results are mounted at /work.
RUN useradd --create-home --uid 1000 vqaflow && mkdir /work && chown vqaflow /work
USER vqaflow
WORKDIR /work
CMD ["snakemake", "--snakefile", "/opt/vqaflow/Snakefile", "help", "--cores", "1"]
