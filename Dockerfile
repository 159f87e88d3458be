# One image for every process of ParkPal: the command says which (`api`, `run`, ...).
FROM python:3.12-slim

# Everything that is written lies under /data; compiled kernels are cached in the user's home.
RUN useradd --create-home --uid 10001 parkpal && install -d -o parkpal -g parkpal /data
WORKDIR /app

COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY geo geo
COPY pipeline pipeline
COPY api api
COPY parkpal parkpal
RUN pip install --no-cache-dir --no-deps .

USER parkpal
ENV PARKPAL_DATA_DIR=/data PARKPAL_HOST=0.0.0.0 PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8080
HEALTHCHECK --start-period=60s --interval=10s --timeout=5s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health/live', timeout=4)"]
ENTRYPOINT ["parkpal"]
CMD ["api"]
