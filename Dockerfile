# The review page's server. Images, store and secret lie in /data; a model is mounted or copied to /model.hemo.
#   docker build -t hemoscope .
#   docker run --rm -i -v review:/data hemoscope store user add NAME --role administrator --data-folder /data < password.txt
#   docker run -p 127.0.0.1:8000:8000 -v review:/data -v "$PWD/blood.hemo:/model.hemo:ro" hemoscope
FROM python:3.12-slim AS built
RUN pip install --no-cache-dir "uv>=0.9"
WORKDIR /src
COPY pyproject.toml uv.lock README.md LICENSE ./
ENV UV_PROJECT_ENVIRONMENT=/venv UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
# What hemoscope needs changes less often than hemoscope.
RUN uv sync --frozen --no-dev --extra serve --extra explain --no-install-project
COPY src src
RUN uv sync --frozen --no-dev --extra serve --extra explain --no-editable

FROM python:3.12-slim
RUN useradd --uid 10001 --create-home hemoscope && install -d -o hemoscope /data
COPY --from=built /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 HEMOSCOPE_CACHE=/data/cache
USER hemoscope
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=5)"]
ENTRYPOINT ["hemoscope"]
# From inside a container every address is another machine's, so people sign in.
CMD ["serve", "/model.hemo", "--host", "0.0.0.0", "--port", "8000", "--data-folder", "/data"]
