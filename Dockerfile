# syntax=docker/dockerfile:1
FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv /opt/bulkhead
COPY requirements/operator.txt requirements/build.txt requirements/
RUN /opt/bulkhead/bin/pip install --no-cache-dir --require-hashes --no-deps \
    -r requirements/operator.txt -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
# With the setuptools of build.txt and no other: nothing is fetched here.
RUN /opt/bulkhead/bin/pip install --no-cache-dir --no-index --no-build-isolation --no-deps . \
    && /opt/bulkhead/bin/python -m compileall -q /opt/bulkhead/lib

FROM python:3.11-slim
# The user of the Deployment's securityContext; nothing in the image is writable for it.
COPY --from=build /opt/bulkhead /opt/bulkhead
ENV PATH=/opt/bulkhead/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["bulkhead"]
CMD ["operator"]
