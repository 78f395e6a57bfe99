'use strict';
const http = require('node:http');

const port = Number(process.env.PORT);
const server = http.createServer((request, response) => {
  response.setHeader('content-type', 'text/plain; charset=utf-8');
  response.end(`node ${process.version} as uid ${process.getuid()} answers ${request.url}\n`);
});

server.listen(port, '127.0.0.1', () => console.log(`listening on 127.0.0.1:${port}`));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
