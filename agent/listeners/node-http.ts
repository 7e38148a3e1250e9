/** Node's HTTP. An import of it would load the fetch and the web sockets that it also exports: 11 MB in each agent (docs/adr/0330). */
export const { createServer, request } = process.getBuiltinModule("node:http");
