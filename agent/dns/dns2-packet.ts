import { createRequire } from "node:module";
import type DNS from "dns2";

// The package as a whole loads its servers and clients, and with them HTTP/2, TLS and zlib: 5 MB in the thread that answers (docs/adr/0328). Its
// exports do not name the file, hence a path.
const require = createRequire(import.meta.url);

export const Packet = require("../../node_modules/dns2/packet.js") as typeof DNS.Packet; // the module is what dns2 itself exports by this name
