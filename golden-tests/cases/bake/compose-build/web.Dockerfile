FROM base
ARG NAME
RUN echo $NAME >> /base
