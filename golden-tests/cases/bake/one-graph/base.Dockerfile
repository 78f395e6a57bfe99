FROM busybox AS shared
ARG GREETING
RUN echo $GREETING > /greeting
FROM shared AS one
RUN echo one >> /greeting
FROM shared AS two
RUN echo two >> /greeting
