# Targets: service (the default), cuda (the same on an NVIDIA GPU), training. Needs BuildKit, as Docker has since 23.
ARG PYTHON_IMAGE=python:3.11-slim
# onnxruntime-gpu 1.31 wants CUDA 13 and cuDNN 9.
ARG CUDA_IMAGE=nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04

FROM ${PYTHON_IMAGE} AS python

FROM ${CUDA_IMAGE} AS python-cuda
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

# What changes seldom comes first: the packages, then the bundle, then the code. REQUIREMENTS="cpu tracing" (or "cuda
# tracing") has what OVATION_TRACING=otlp needs, too.
FROM python AS packages
ARG REQUIREMENTS=cpu
COPY requirements /requirements
RUN /requirements/venv.sh ${REQUIREMENTS}

FROM python-cuda AS packages-cuda
ARG REQUIREMENTS=cuda
COPY requirements /requirements
RUN /requirements/venv.sh ${REQUIREMENTS}

# Another bundle is built in with --build-arg BUNDLE=models/mine, or mounted over /app/models/default.
FROM python AS source
ARG BUNDLE=models/reviews-bilstm
WORKDIR /out
COPY ${BUNDLE} app/models/default
COPY service app/service
# The link is the path that the bundle had before, kept for one release. All is readable, whatever the checkout's umask.
RUN ln -s default app/models/imdb-bilstm \
    && python -m compileall -q --invalidation-mode unchecked-hash app \
    && chmod -R u=rwX,go=rX app \
    && find app -exec touch --no-dereference --date=@0 {} +

FROM python AS training
# torch's default wheels bring CUDA, which takes gigabytes; TORCH_INDEX is the address of its wheels for the CPU.
ARG TORCH_INDEX
COPY requirements/training.txt /requirements/
RUN install="pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-cache-dir" \
    && if [ -n "$TORCH_INDEX" ]; then \
           $install --no-deps --index-url "$TORCH_INDEX" "$(grep ^torch== /requirements/training.txt)"; \
       fi \
    && $install --requirement /requirements/training.txt
COPY --from=source /out /
COPY training /app/training
RUN chmod -R u=rwX,go=rX /app/training
# The code is the image's, whatever lies in the folder that it is run in; what it downloads stays in that folder.
ENV PYTHONPATH=/app PYTHONSAFEPATH=1 ORT_DISABLE_TELEMETRY=1 HOME=/tmp MPLCONFIGDIR=/tmp XDG_CACHE_HOME=/work/runs/cache
WORKDIR /work
USER 10001:10001
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]

FROM python-cuda AS cuda
COPY --from=packages-cuda /out /
COPY --from=source /out /
ENV PATH=/venv/bin:$PATH ORT_DISABLE_TELEMETRY=1
ENV OVATION_HOST=0.0.0.0 OVATION_MODEL=models/default OVATION_PROVIDER=cuda
WORKDIR /app
# Its Python may be another than that of the other stages.
RUN python -m compileall -q --invalidation-mode unchecked-hash .
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-I", "-S", "service/healthcheck.py"]
ENTRYPOINT ["python", "-m", "service"]
CMD ["serve"]
ARG VERSION REVISION SOURCE
LABEL org.opencontainers.image.title="Ovation" \
      org.opencontainers.image.description="Calibrated, explained, verified sentiment, on an NVIDIA GPU." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"

FROM python AS service
COPY --from=packages /out /
COPY --from=source /out /
ENV PATH=/venv/bin:$PATH ORT_DISABLE_TELEMETRY=1
ENV OVATION_HOST=0.0.0.0 OVATION_MODEL=models/default
WORKDIR /app
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-I", "-S", "service/healthcheck.py"]
# Python is process 1 and gets SIGTERM itself: it drains, then ends.
ENTRYPOINT ["python", "-m", "service"]
CMD ["serve"]
ARG VERSION REVISION SOURCE
LABEL org.opencontainers.image.title="Ovation" \
      org.opencontainers.image.description="Calibrated, explained, verified sentiment." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
