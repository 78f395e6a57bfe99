FROM scratch
ENV FROM_BASE=1
COPY a /a
CMD ["x"]
ONBUILD COPY a /from-trigger
