# A static binary in an empty image: no shell, no package to update. ci/container tests the final stage.
FROM rust:1-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY conf conf
RUN cargo build --release --locked --bin s3pail
COPY ci/image-tree ci/image-tree
RUN ci/image-tree target/release/s3pail /image

FROM scratch
COPY --from=build /image /
# Where users of Scality S3 Server's image mount their files and volumes.
WORKDIR /usr/src/app
VOLUME ["/usr/src/app/localData", "/usr/src/app/localMetadata"]
# Loopback would be out of reach here. Weaker than any address of the user's.
ENV S3PAIL_BIND_ADDRESS=0.0.0.0
USER 65532:65532
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=4s --start-period=2s CMD ["/usr/local/bin/s3pail", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/s3pail"]
