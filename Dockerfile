# The installed commands in an image: docker build -t policy-extraction .            (CPU)
#                                    docker build -t policy-extraction --build-arg EXTRAS=[cuda12,torch,serve] .
# docker run --rm -v "$PWD/outputs:/data/outputs" [--gpus all] policy-extraction run method=awr
FROM debian:12-slim AS wheel
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 python3-venv
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY envs envs
COPY value_model value_model
COPY policy_extraction policy_extraction
COPY experiments experiments
RUN python3 -m venv /build && /build/bin/pip wheel --quiet --no-deps -w /dist .

FROM debian:12-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 python3-venv libegl1 libgl1 && rm -rf /var/lib/apt/lists/*
COPY requirements.lock /tmp/
COPY --from=wheel /dist /tmp/dist
ARG EXTRAS=""
RUN python3 -m venv /opt/policy-extraction \
    && /opt/policy-extraction/bin/pip install --quiet --no-cache-dir -c /tmp/requirements.lock "$(ls /tmp/dist/*.whl)${EXTRAS}" \
    && rm -rf /tmp/dist
ENV PATH=/opt/policy-extraction/bin:$PATH MUJOCO_GL=egl
WORKDIR /data
ENTRYPOINT ["policy-extraction"]
