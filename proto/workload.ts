import { z } from "zod";
import {
  API_VERSION_TEXT,
  DnsLabel,
  DnsSubdomain,
  Duration,
  durationMs,
  KIND_TEXT,
  metaWith,
  PortName,
  PortNumber,
  Protocol,
} from "./meta.ts";
import { endpointAddressFault } from "./ip.ts";
import type { RuleFault } from "./kinds.ts";

/** Workload, fairlead.dev/v1: something that listens on a host. Ours, hence strict: a field that is not here is refused. */

const CHECK_PORT_TEXT = "The name or the number of a port of this workload, which must be TCP.";
const PortRef = z.union([PortNumber, PortName], { error: "must be the name or the number of a port of this workload" });
/** Faster checks cost a host more than they tell. */
const atLeast = (least: string) => Duration.refine((text) => durationMs(text) >= durationMs(least), `must be ${least} or more`);
const timing = {
  interval: atLeast("100ms").default("5s").describe("From one check to the next, as 500ms or 1m30s; at least 100ms. Default: 5s."),
  timeout: atLeast("10ms").default("1s").describe("How long an answer may take; at least 10ms. Default: 1s."),
  rise: z.int().min(1).max(100).default(1).describe("How many good results in a row turn it ready, 1 to 100. Default: 1."),
  fall: z.int().min(1).max(100).default(3).describe("How many bad results in a row turn it not ready, 1 to 100. Default: 3."),
};

export const HttpCheck = z.strictObject({
  port: PortRef.describe(CHECK_PORT_TEXT),
  path: z
    .string()
    .max(1024)
    .regex(/^\/[!-~]*$/, "must start with '/' and be printable ASCII without spaces")
    .default("/")
    .describe("What is asked for. Default: /."),
  expectStatus: z
    .int()
    .min(100)
    .max(599)
    .optional()
    .describe("The only good status. Default: any from 200 to 399. Redirects count as such and are never followed."),
});
export const TcpCheck = z.strictObject({ port: PortRef.describe(CHECK_PORT_TEXT) });
/** Only from files on the host itself (`workloads.d`); the server refuses it. */
export const ExecCheck = z.strictObject({
  command: z.array(z.string().min(1)).min(1).max(64).describe("The program and its arguments, without a shell; the exit code 0 is good."),
});

export const Check = z
  .strictObject({
    http: HttpCheck.optional().describe("Good is an answer over HTTP with a good status."),
    tcp: TcpCheck.optional().describe("Good is a connection that opens."),
    exec: ExecCheck.optional().describe("Good is a command that succeeds. Only in files on the host itself (workloads.d); refused here."),
    ...timing,
  })
  .refine(
    (check) => [check.http, check.tcp, check.exec].filter((one) => one !== undefined).length === 1,
    "must have exactly one of http, tcp and exec",
  );
export type Check = z.output<typeof Check>;

export const WorkloadPort = z.strictObject({
  name: PortName.optional().describe("A name by which services (targetPort) and checks can mean it."),
  port: PortNumber.describe("The port at which it listens, 1 to 65535."),
  protocol: Protocol.default("TCP").describe("TCP, UDP or SCTP. Default: TCP."),
  containerPort: PortNumber.optional().describe(
    "What the program inside a container calls it, where the engine publishes it as `port`: a Service's numeric targetPort finds the port by this number.",
  ),
});
export type WorkloadPort = z.output<typeof WorkloadPort>;

export const Reach = z.enum(["Fleet", "Node", "OtherNodes"]);
export type Reach = z.output<typeof Reach>;

export const WorkloadSpec = z.strictObject({
  node: DnsSubdomain.describe("The Node that it runs on."),
  address: z
    .string()
    .superRefine((text, context) => {
      const fault = endpointAddressFault(text);
      if (fault !== undefined) context.addIssue({ code: "custom", message: fault });
    })
    .optional()
    .describe("The address at which it listens. Default: its Node's first own address."),
  reach: Reach.optional().describe(
    "Who reaches the address. Node: only programs on its own host, so that no other host sends there. OtherNodes: all but its own host (macvlan), which sends there never. Default: the whole fleet.",
  ),
  ports: z.array(WorkloadPort).max(100).default([]).describe("The ports at which it listens; 100 at most."),
  weight: z
    .int()
    .min(0)
    .max(65_535)
    .default(1)
    .describe("Its share of new connections relative to the others of a service, 0 to 65535; 0 takes none. Default: 1."),
  checks: z
    .array(Check)
    .max(16)
    .default([])
    .describe("How its host finds out whether it is ready: all of them must be good; 16 at most. Default: always ready."),
  ttl: Duration.optional().describe(
    "It is deleted unless somebody writes it again in this time, as 30s; for programs that register themselves. Default: it stays.",
  ),
  drain: z.boolean().default(false).describe("True takes it out of rotation for new connections. Default: false."),
  terminationGracePeriodSeconds: z
    .int()
    .min(0)
    .max(3600)
    .default(5)
    .describe("How long it stays, serving and terminating, after it was deleted, in seconds, 0 to 3600. Default: 5."),
});
export type WorkloadSpec = z.output<typeof WorkloadSpec>;

export const WorkloadStatus = z.strictObject({
  ready: z
    .boolean()
    .optional()
    .describe("The verdict of the checks, given by the agent of its Node. Absent: none yet, or there are no checks."),
  since: z.string().optional().describe("Since when it is so, RFC 3339."),
  reason: z.string().max(256).optional().describe("Why it is not ready, one CamelCase word for programs."),
  message: z.string().max(1024).optional().describe("Why it is not ready, for people."),
});
export type WorkloadStatus = z.output<typeof WorkloadStatus>;

export const Workload = z
  .strictObject({
    apiVersion: z.literal("fairlead.dev/v1").describe(API_VERSION_TEXT),
    kind: z.literal("Workload").describe(KIND_TEXT),
    metadata: metaWith(DnsLabel),
    spec: WorkloadSpec.describe("What is wished for."),
    status: WorkloadStatus.default({}).describe("What is so; written at the path /status by the agent of its Node."),
  })
  .describe("Something that listens on a host: a process or container, which services find by its labels.");
export type Workload = z.output<typeof Workload>;

export function checkWorkload({ ports, checks }: WorkloadSpec, fault: RuleFault): void {
  const names = new Set<string>();
  const numbers = new Set<string>();
  for (const [i, { name, port, protocol }] of ports.entries()) {
    const number = `${port}/${protocol}`;
    if (name !== undefined && names.has(name)) fault(["spec", "ports", i, "name"], "two ports may not have the same name", "Duplicate");
    if (numbers.has(number)) fault(["spec", "ports", i], `port ${number} stands there twice`, "Duplicate");
    if (name !== undefined) names.add(name);
    numbers.add(number);
  }
  for (const [i, check] of checks.entries()) {
    const kind = check.http ? "http" : "tcp";
    const ref = (check.http ?? check.tcp)?.port;
    if (ref === undefined) continue;
    const found = ports.filter((port) => port.name === ref || port.port === ref);
    if (found.some(({ protocol }) => protocol === "TCP")) continue;
    const [other] = found;
    const message = other
      ? `is ${other.protocol} here, and the check needs a TCP port`
      : `no port of this workload is named or numbered ${ref}`;
    fault(["spec", "checks", i, kind, "port"], message);
  }
}
export type WorkloadInput = z.input<typeof Workload>;

/**
 * Set by an agent on a Workload from a file of its host that has checks which only the file may hold (exec): it needs the agent's verdict too, though
 * no check stands in its spec.
 */
export const LOCAL_CHECKS_ANNOTATION = "fairlead.dev/local-checks";
/** Set by an agent on the Workloads that it keeps from files and containers: which one. It removes what is no longer there. */
export const SOURCE_ANNOTATION = "fairlead.dev/source";
/** Set by an agent on the Workload of a container: its id. */
export const CONTAINER_ANNOTATION = "fairlead.dev/container";
/** Set by an agent on the Workload of a container: why others reach it where they do, and what to do about that. */
export const ADDRESS_REASON_ANNOTATION = "fairlead.dev/address-reason";
/** Set by `register --renew` and `--follow`: which run of them keeps it. The one that registered it last takes it out when it ends, no other. */
export const KEEPER_ANNOTATION = "fairlead.dev/keeper";
/** Asks the server for a Service of this name with the Workload's label `app` as selector, where there is none. */
export const EXPOSE_ANNOTATION = "fairlead.dev/expose";

/** Without a verdict it gets no traffic: it has checks, here or in a file on its host. */
export function needsVerdict({ metadata, spec }: Pick<Workload, "metadata" | "spec">): boolean {
  return spec.checks.length > 0 || metadata.annotations?.[LOCAL_CHECKS_ANNOTATION] !== undefined;
}
