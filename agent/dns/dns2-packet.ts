import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type DNS from "dns2";

// The package as a whole loads its servers and clients, and with them HTTP/2, TLS and zlib: 5 MB in the thread that answers (docs/adr/0328). Its
// exports do not name the file, so it is found beside its package.json.
const require = createRequire(import.meta.url);
const file = join(dirname(require.resolve("dns2/package.json")), "packet.js");

export const Packet = require(file) as typeof DNS.Packet; // the module is what dns2 itself exports by this name
