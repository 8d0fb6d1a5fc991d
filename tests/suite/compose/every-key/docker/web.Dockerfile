FROM docker.io/library/python:3 AS build
ARG VERSION
ARG DEBUG=false
ARG FROM_OUTSIDE
ARG NOT_THERE=default
RUN --mount=type=secret,id=token --mount=type=secret,id=signing-key --mount=type=ssh make $VERSION $DEBUG $FROM_OUTSIDE $NOT_THERE
FROM docker.io/library/python:3 AS run
COPY --from=build /out /out
COPY app /app
CMD ["/out/app"]
FROM run
RUN after
