import { createRequire } from "node:module";
import type Undici from "undici";

// The package as a whole loads fetch, web sockets, mocks and caches: 12 MB in each agent (docs/adr/0330). It names its files to nobody and forbids none.
const require = createRequire(import.meta.url);

/** Each is what undici itself exports by this name. */
export const Agent = require("undici/lib/dispatcher/agent.js") as typeof Undici.Agent;

const Dispatcher = require("undici/lib/dispatcher/dispatcher.js") as typeof Undici.Dispatcher;
// As undici's own index does.
Dispatcher.prototype.request = require("undici/lib/api/api-request.js") as Undici.Dispatcher["request"];
