import { expect, test } from "vitest";
import { AppError } from "#proto/error.ts";
import { conntrackRequirements, DEFAULT_CONNTRACK, tuneConntrack, type ConntrackSettings } from "./conntrack-settings.ts";
import type { Requirement } from "./sysctl.ts";

const NOTHING: ConntrackSettings = { maxPerCore: 0, min: 131_072, establishedSeconds: 0, closeWaitSeconds: 0, isLiberal: false };
const wanted = (settings: Partial<ConntrackSettings>, cores: number): Record<string, string> =>
  Object.fromEntries(
    conntrackRequirements({ ...NOTHING, ...settings }, cores).map(({ name, value }) => [
      name.replace("net.netfilter.nf_conntrack_", ""),
      value,
    ]),
  );

test("a small host tracks as many connections as kube-proxy wants at least, a large one so many for each processor", () => {
  const times = { tcp_timeout_established: "86400", tcp_timeout_close_wait: "3600" };
  expect(wanted(DEFAULT_CONNTRACK, 2)).toEqual({ max: "131072", buckets: "32768", ...times });
  expect(wanted(DEFAULT_CONNTRACK, 16)).toEqual({ max: "524288", buckets: "131072", ...times });
});

test("0 leaves a setting alone", () => {
  expect(wanted({}, 64)).toEqual({});
  expect(wanted({ maxPerCore: 1 }, 1)).toEqual({ max: "131072", buckets: "32768" });
  expect(wanted({ isLiberal: true }, 1)).toEqual({ tcp_be_liberal: "1" });
});

test("buckets are whole pages, as the kernel makes them", () => {
  expect(wanted({ maxPerCore: 1_000, min: 0 }, 3)).toEqual({ max: "3000", buckets: "8192" });
});

test("numbers are only raised, and none is needed", () => {
  for (const { name, isLeast, mayLack } of conntrackRequirements({ ...DEFAULT_CONNTRACK, isLiberal: true }, 4))
    expect({ isLeast, mayLack }).toEqual({ isLeast: name.endsWith("be_liberal") ? undefined : true, mayLack: true });
});

test("what cannot be set is told with what to do, and the rest is set all the same", async () => {
  const said: unknown[] = [];
  const log = {
    info: (fields: object) => void said.push(fields),
    warn: (fields: object, message: string) => void said.push({ ...fields, message }),
  };
  const tune = async ({ name, value }: Requirement): Promise<string | undefined> => {
    if (name.endsWith("_max")) throw new AppError("KernelRejected", "it is read-only", { hint: "sysctl -w" });
    return name.endsWith("close_wait") ? `${name}=${value}` : undefined;
  };
  const changed = await tuneConntrack({ sysctls: { tune }, log, cores: 2 }, DEFAULT_CONNTRACK);
  expect(changed).toEqual(["net.netfilter.nf_conntrack_tcp_timeout_close_wait=3600"]);
  expect(said).toEqual([{ changed }, { hint: "sysctl -w", message: "it is read-only" }]);
});
