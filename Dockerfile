# The production image: the service alone. Kafka and PostgreSQL are given by KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL;
# the servers of the embedded default are an extra that is not installed here.

FROM python:3.13-slim AS build

# Requirements before sources: a change of the code does not install them again.
COPY requirements-production.lock /tmp/
RUN python -m venv /opt/venv \
 && /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --only-binary=:all: \
        --no-deps --require-hashes -r /tmp/requirements-production.lock

COPY actors /opt/firstbell/actors
COPY commands /opt/firstbell/commands
COPY console /opt/firstbell/console
COPY contracts /opt/firstbell/contracts
COPY domain /opt/firstbell/domain
COPY embedded /opt/firstbell/embedded
COPY storage /opt/firstbell/storage
COPY traffic /opt/firstbell/traffic
COPY *.py /opt/firstbell/
# Compiled here, since the running container may have a read-only file system.
RUN /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/firstbell


FROM python:3.13-slim

RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin firstbell
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/firstbell /opt/firstbell

# The home holds the addresses for `app.py where` and nothing that must last.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FIRSTBELL_HOME=/tmp/firstbell \
    FIRSTBELL_HOST=0.0.0.0 \
    PORT=8080 \
    LOG_FORMAT=json

WORKDIR /opt/firstbell
USER 10001
EXPOSE 8080
STOPSIGNAL SIGTERM

# /healthz fails only for what a new process would mend; /readyz is for whoever sends traffic.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as http; http.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/healthz', timeout=3)"]

ENTRYPOINT ["python", "app.py"]
CMD ["run"]
