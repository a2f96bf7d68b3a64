# The receiver as a container: one process, no root, a root file system that may be read-only.
#   docker build -t clarihook . && docker compose up
#
# SQLite: on x86_64 a current one comes with the package pysqlite3. On other machines it is Debian's,
# which has the WAL-reset race (docs/security.md); there the server is the only one that may write.

FROM python:3.13-slim-trixie AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY receiver receiver
COPY claribi claribi
COPY handlers handlers
COPY config config
RUN python -m venv /opt/clarihook && /opt/clarihook/bin/pip install --no-cache-dir .

FROM python:3.13-slim-trixie
# A number, so that Kubernetes can see that it is not root.
RUN useradd --system --uid 10001 --home-dir /srv/clarihook --shell /usr/sbin/nologin clarihook \
    && install -d -o 10001 -g 10001 -m 0700 /srv/clarihook/data
COPY --from=build /opt/clarihook /opt/clarihook
# Not by `init`: it would bake a secret into the image. The shipped settings take it from
# CLARIBI_WEBHOOK_SECRET, and without one the server does not start.
COPY config /srv/clarihook/config
COPY handlers /srv/clarihook/handlers
ENV PATH=/opt/clarihook/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CLARIHOOK_HOME=/srv/clarihook \
    CLARIHOOK_SERVER__HOST=0.0.0.0 \
    CLARIHOOK_SERVER__PORT=8000
WORKDIR /srv/clarihook
USER 10001:10001
VOLUME /srv/clarihook/data
EXPOSE 8000
# Where server.allowed_hosts is set, it has to have 127.0.0.1 as well.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['CLARIHOOK_SERVER__PORT']}/health\", timeout=2)"]
ENTRYPOINT ["clarihook"]
CMD ["serve"]
