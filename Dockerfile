# One image for ingest, the Dagster code server, webserver and daemon; compose.yaml says which is which.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /opt/wellos && /opt/wellos/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock
COPY . .
RUN /opt/wellos/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim-bookworm
RUN useradd --create-home --uid 10001 wellos && cd /var/lib && install -d -o wellos -g wellos wellos wellos/data wellos/dagster wellos/dagster/storage
COPY --from=build /opt/wellos /opt/wellos
COPY --chown=wellos:wellos dagster.yaml /var/lib/wellos/dagster/dagster.yaml
COPY --chown=wellos:wellos deploy/workspace.yaml /var/lib/wellos/workspace.yaml
ENV PATH=/opt/wellos/bin:$PATH PYTHONUNBUFFERED=1 WELLOS_DATA_DIR=/var/lib/wellos/data DAGSTER_HOME=/var/lib/wellos/dagster
USER wellos
WORKDIR /var/lib/wellos
CMD ["wellos", "--help"]
