import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { parseObject } from "#proto/parse.ts";
import type { ObjectOf } from "#proto/kinds.ts";
import { openStore, type StoreOptions } from "#server/store/sqlite.ts";
import type { Store, StoreKey } from "#server/store/store.ts";

const MEMORY = "/dev/shm";

/** A directory of its own, removed when the test has ended; in memory for tests to which the speed of the disk's fsync means nothing. */
export function tempDir(where: "disk" | "memory" = "disk"): string {
  const path = mkdtempSync(join(where === "memory" && existsSync(MEMORY) ? MEMORY : tmpdir(), "fairlead-store-"));
  onTestFinished(() => rmSync(path, { recursive: true }));
  return path;
}

/** A store in a directory of its own, closed when the test has ended. */
export function tempStore(options: Partial<StoreOptions> = {}): Store {
  const store = openStore({ path: join(tempDir(), "fairlead.db"), ...options });
  onTestFinished(() => store.close());
  return store;
}

export interface ServiceOptions {
  readonly namespace?: string;
  readonly labels?: Record<string, string>;
  readonly note?: string;
}

/** `note` is what tells one version of it from another. */
export function aStoredService(name: string, { namespace = "default", labels, note }: ServiceOptions = {}): ObjectOf<"Service"> {
  const annotations = note === undefined ? undefined : { note };
  return parseObject("Service", {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace, labels, annotations },
    spec: { ports: [{ port: 80 }] },
  });
}

export function serviceKey(name: string, namespace = "default"): StoreKey {
  return { kind: "Service", namespace, name };
}
