# A small image of the `recourse` binary with the clients of the distributed engines: no shell, no
# package manager, no root. It writes nothing, so its root file system may be read-only; `up` wants
# a volume for its data folder.

FROM rust:1.95-slim-trixie AS build
# librdkafka and SQLite are built from source.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc g++ make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --package recourse --features distributed \
    && cp target/release/recourse /recourse

FROM gcr.io/distroless/cc-debian13:nonroot
COPY --from=build /recourse /recourse
EXPOSE 7171
ENTRYPOINT ["/recourse"]
CMD ["--help"]
