# docker build -t pkdn .                                   CPU
# docker build -t pkdn --build-arg TORCH=cu128 .           NVIDIA GPUs: run it with --gpus all
# docker run --rm -v "$PWD:/work" pkdn predict input=photos output=restored
FROM python:3.11-slim-bookworm AS build
WORKDIR /source
RUN pip install --no-cache-dir build==1.6.1
COPY . .
RUN python -m build --wheel --outdir /wheel

FROM python:3.11-slim-bookworm
ARG TORCH=cpu
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1
COPY constraints.txt /constraints.txt
COPY --from=build /wheel /wheel
# PyTorch first, from the index of its build; the rest does not replace it.
RUN pip install --constraint /constraints.txt --index-url "https://download.pytorch.org/whl/${TORCH}" torch \
    && pip install --constraint /constraints.txt "$(echo /wheel/*.whl)[faces,export,demo]" \
    && rm -r /wheel \
    && useradd --create-home --uid 1000 user
USER 1000
WORKDIR /work
ENTRYPOINT ["pkdn"]
CMD ["--help"]
