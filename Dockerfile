# The workflow and everything that it runs with: docs/howto.md says how to build and run it.
FROM python:3.11-slim-bookworm

# cpu or gpu: which of envs/ is installed.
ARG DEVICE=cpu

# torch.compile and Triton call a C compiler.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

COPY envs /opt/vramlab/envs
RUN pip install --no-cache-dir --requirement /opt/vramlab/envs/${DEVICE}.txt

COPY Snakefile /opt/vramlab/
COPY config /opt/vramlab/config
COPY profiles /opt/vramlab/profiles
COPY rules /opt/vramlab/rules
COPY src /opt/vramlab/src
COPY workflow /opt/vramlab/workflow

# Caches and locks, for whichever user the container runs as: who has no name in the image takes this
# one, since Snakemake and torch ask for it.
ENV HOME=/tmp USER=vramlab PYTHONDONTWRITEBYTECODE=1

# Mount your folder here: configurations and corpora are read from it, results are written to it.
WORKDIR /work
ENTRYPOINT ["snakemake", "--snakefile", "/opt/vramlab/Snakefile"]
