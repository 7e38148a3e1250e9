// Loaded before server and agent by the launcher. With their compiled code on disk they start in half the time, and need not load the compiler that
// strips types, whose 20 MB would stay for as long as they run (docs/adr/0005-memory.md). Code is run from there, hence only where nobody but root
// can write; deleting it is safe.
import { enableCompileCache, flushCompileCache } from "node:module";

const FOLDER = "/var/cache/fairlead";
const ALL_LOADED_MS = 30_000;

if (process.getuid?.() === 0) {
  enableCompileCache(FOLDER);
  setTimeout(() => flushCompileCache(), ALL_LOADED_MS).unref(); // at its end Node writes it too, but not when it is killed
}
