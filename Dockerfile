# One image for every part of a cluster; docker-compose.yml says which part each container runs.
FROM python:3.13-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends iproute2 nftables util-linux \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/wherry
COPY requirements.lock pyproject.toml README.md ./
RUN pip install --no-cache-dir --require-hashes --requirement requirements.lock
COPY apimachinery ./apimachinery
COPY apiclient ./apiclient
COPY apiserver ./apiserver
COPY scheduler ./scheduler
COPY controllers ./controllers
COPY kubelet ./kubelet
COPY kctl ./kctl
RUN pip install --no-cache-dir --no-deps .
WORKDIR /
ENTRYPOINT ["python", "-m"]
