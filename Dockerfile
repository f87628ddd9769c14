# Any image with Python 3.11 or newer serves as BASE, in which `python3 -m venv` works.
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
WORKDIR /src
RUN python3 -m venv /opt/watchkeeper
COPY requirements.lock ./
RUN /opt/watchkeeper/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY . .
# The lock also pins the tools of development, which have no place in the image.
RUN /opt/watchkeeper/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && /opt/watchkeeper/bin/pip uninstall --yes --quiet aiosmtpd hypothesis import-linter grimp mypy pytest pytest-timeout pytest-xdist ruff setuptools

FROM ${BASE}
COPY --from=build /opt/watchkeeper /opt/watchkeeper
ENV PATH=/opt/watchkeeper/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["watchkeeper"]
CMD ["--help"]
