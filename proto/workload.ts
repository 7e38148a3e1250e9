import { z } from "zod";
import { DnsLabel, DnsSubdomain, Duration, durationMs, metaWith, PortName, PortNumber, Protocol } from "./meta.ts";
import { endpointAddressFault } from "./ip.ts";

/** Workload, fairlead.dev/v1: something that listens on a host. Ours, hence strict: a field that is not here is refused. */

const PortRef = z.union([PortNumber, PortName], { error: "must be the name or the number of a port of this workload" });
/** Faster checks cost a host more than they tell. */
const atLeast = (least: string) => Duration.refine((text) => durationMs(text) >= durationMs(least), `must be ${least} or more`);
const timing = {
  interval: atLeast("100ms").default("5s"),
  timeout: atLeast("10ms").default("1s"),
  /** How many good (bad) results in a row turn it ready (not ready). */
  rise: z.int().min(1).max(100).default(1),
  fall: z.int().min(1).max(100).default(3),
};

export const HttpCheck = z.strictObject({
  port: PortRef,
  path: z
    .string()
    .max(1024)
    .regex(/^\/[!-~]*$/, "must start with '/' and be printable ASCII without spaces")
    .default("/"),
  /** Default: any status from 200 to 399. Redirects count as such and are never followed. */
  expectStatus: z.int().min(100).max(599).optional(),
});
export const TcpCheck = z.strictObject({ port: PortRef });
/** Only from files on the host itself (`workloads.d`); the server refuses it. */
export const ExecCheck = z.strictObject({ command: z.array(z.string().min(1)).min(1).max(64) });

export const Check = z
  .strictObject({ http: HttpCheck.optional(), tcp: TcpCheck.optional(), exec: ExecCheck.optional(), ...timing })
  .refine(
    (check) => [check.http, check.tcp, check.exec].filter((one) => one !== undefined).length === 1,
    "must have exactly one of http, tcp and exec",
  );
export type Check = z.output<typeof Check>;

export const WorkloadPort = z.strictObject({
  name: PortName.optional(),
  port: PortNumber,
  protocol: Protocol.default("TCP"),
});
export type WorkloadPort = z.output<typeof WorkloadPort>;

export const WorkloadSpec = z
  .strictObject({
    /** The Node that it runs on. */
    node: DnsSubdomain,
    /** Absent = the node's own first address. */
    address: z
      .string()
      .superRefine((text, context) => {
        const fault = endpointAddressFault(text);
        if (fault !== undefined) context.addIssue({ code: "custom", message: fault });
      })
      .optional(),
    ports: z.array(WorkloadPort).max(100).default([]),
    weight: z.int().min(0).max(65_535).default(1),
    checks: z.array(Check).max(16).default([]),
    /** Gone unless renewed in this time; for programs that register themselves. */
    ttl: Duration.optional(),
    /** Out of rotation for new connections while true. */
    drain: z.boolean().default(false),
    /** How long it stays serving and terminating after it was deleted. */
    terminationGracePeriodSeconds: z.int().min(0).max(3600).default(5),
  })
  .superRefine((spec, context) => {
    const names = new Set<string>();
    const numbers = new Set<string>();
    for (const [i, port] of spec.ports.entries()) {
      const number = `${port.port}/${port.protocol}`;
      if (port.name !== undefined && names.has(port.name))
        context.addIssue({
          code: "custom",
          path: ["ports", i, "name"],
          message: "two ports may not have the same name",
          params: { reason: "FieldValueDuplicate" },
        });
      if (numbers.has(number))
        context.addIssue({
          code: "custom",
          path: ["ports", i],
          message: `port ${number} stands there twice`,
          params: { reason: "FieldValueDuplicate" },
        });
      if (port.name !== undefined) names.add(port.name);
      numbers.add(number);
    }
    for (const [i, check] of spec.checks.entries()) {
      const kind = check.http ? "http" : "tcp";
      const ref = (check.http ?? check.tcp)?.port;
      if (ref === undefined) continue;
      const found = spec.ports.filter((port) => port.name === ref || port.port === ref);
      if (found.some(({ protocol }) => protocol === "TCP")) continue;
      const [other] = found;
      const message = other
        ? `is ${other.protocol} here, and the check needs a TCP port`
        : `no port of this workload is named or numbered ${ref}`;
      context.addIssue({ code: "custom", path: ["checks", i, kind, "port"], message });
    }
  });
export type WorkloadSpec = z.output<typeof WorkloadSpec>;

export const WorkloadStatus = z.strictObject({
  /** The verdict of the checks, made by the agent of its node; workloads without checks need none. */
  ready: z.boolean().optional(),
  /** RFC 3339: since when it is so. */
  since: z.string().optional(),
  reason: z.string().max(256).optional(),
  message: z.string().max(1024).optional(),
});
export type WorkloadStatus = z.output<typeof WorkloadStatus>;

export const Workload = z.strictObject({
  apiVersion: z.literal("fairlead.dev/v1"),
  kind: z.literal("Workload"),
  metadata: metaWith(DnsLabel),
  spec: WorkloadSpec,
  status: WorkloadStatus.default({}),
});
export type Workload = z.output<typeof Workload>;
export type WorkloadInput = z.input<typeof Workload>;

/**
 * Set by an agent on a Workload from a file of its host that has checks which only the file may hold (exec): it needs the agent's verdict too, though
 * no check stands in its spec.
 */
export const LOCAL_CHECKS_ANNOTATION = "fairlead.dev/local-checks";
/** Set by an agent on the Workloads that it keeps from files: which file. It removes what the file no longer has. */
export const SOURCE_ANNOTATION = "fairlead.dev/source";

/** Without a verdict it gets no traffic: it has checks, here or in a file on its host. */
export function needsVerdict({ metadata, spec }: Pick<Workload, "metadata" | "spec">): boolean {
  return spec.checks.length > 0 || metadata.annotations?.[LOCAL_CHECKS_ANNOTATION] !== undefined;
}
