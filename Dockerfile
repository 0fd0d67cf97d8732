# Both commands of the README in a container. Not built yet by us: no container engine was at hand.
#   docker build -t fedecho . && docker run --rm fedecho
#   docker run --rm -p 8888:8888 fedecho make lab LAB="--ip=0.0.0.0 --no-browser"
FROM python:3.11-slim-bookworm
RUN apt-get update \
 && apt-get install -y --no-install-recommends git make \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /fedecho
COPY . .
RUN TORCH_INDEX=https://download.pytorch.org/whl/cpu make setup
CMD ["make", "tables", "test"]
