// Loaded before server and agent by the launcher. With their compiled code on disk they start in half the time, and need not load the compiler that
// strips types, whose 20 MB would stay for as long as they run (docs/adr/0005-memory.md). Code is run from there, hence only where nobody but root
// can write, or the service's own user (systemd's CacheDirectory=); deleting it is safe.
import { enableCompileCache, flushCompileCache } from "node:module";

const FOLDER = "/var/cache/fairlead";
const ALL_LOADED_MS = 30_000;

const folder = process.getuid?.() === 0 ? FOLDER : process.env["CACHE_DIRECTORY"];
if (folder !== undefined) {
  enableCompileCache(folder);
  setTimeout(() => flushCompileCache(), ALL_LOADED_MS).unref(); // at its end Node writes it too, but not when it is killed
}
