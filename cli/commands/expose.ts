import { orUndefined } from "#proto/client.ts";
import { AppError } from "#proto/error.ts";
import type { InputOf } from "#proto/kinds.ts";
import type { Labels } from "#proto/meta.ts";
import type { Workload } from "#proto/workload.ts";
import type { Invocation, Io } from "../io.ts";
import { durationOption, labelOptions, portOption, portRef, type PortOption } from "../options.ts";
import { lastRevision, waitUntilLive } from "../receipts.ts";
import { openSession, warnTo, type Session } from "../session.ts";
import { outsideOf, withNodePort, type OutsideOptions } from "./expose-spec.ts";

interface ExposeOptions extends OutsideOptions {
  readonly port: readonly string[];
  readonly targetPort?: string;
  readonly selector?: string;
  readonly workload?: string;
  readonly headless?: true;
  readonly wait?: true;
  readonly timeout: string;
}

export async function expose({ args, options, io }: Invocation<ExposeOptions>): Promise<number> {
  const [name = "", ...more] = args;
  if (more.length > 0) throw new AppError("Usage", `one name at a time: what is "${more.join(" ")}"?`);
  const timeoutMs = durationOption("--timeout", options.timeout);
  const given = options.port.map(portOption);
  if (options.targetPort !== undefined && given.length !== 1) throw new AppError("Usage", "--target-port needs exactly one --port");
  if (options.selector !== undefined && options.workload !== undefined)
    throw new AppError("Usage", "--selector and --workload contradict each other");
  const { spec, annotations } = outsideOf(options);
  await using session = await openSession(options, io);
  const workload = options.selector === undefined ? await workloadFor(session, io, options.workload ?? name) : undefined;
  const selector =
    options.selector === undefined ? labelsOf(workload, options.workload ?? name) : labelOptions("--selector", [options.selector]);
  const service: InputOf<"Service"> = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: session.namespace, ...(Object.keys(annotations).length > 0 && { annotations }) },
    spec: {
      ...spec,
      selector,
      ports: withNodePort(portsFor(given, options.targetPort, workload), options.nodePort),
      ...(options.headless && { clusterIP: "None" as const }),
    },
  };
  const created = await session.client.create("Service", service, { onWarning: warnTo(io), signal: io.stop });
  io.out(`service/${created.metadata.name} exposed\n`);
  if (options.wait) await waitUntilLive(session.client, io, { revision: lastRevision([created]), timeoutMs });
  return 0;
}

async function workloadFor({ client, namespace }: Session, io: Io, name: string): Promise<Workload | undefined> {
  return orUndefined(client.get("Workload", name, { namespace, signal: io.stop }));
}

function labelsOf(workload: Workload | undefined, name: string): Labels {
  if (!workload)
    throw new AppError("Usage", `which workloads? None is named "${name}"`, {
      hint: "give --selector app=web, or --workload NAME to take the labels of one",
    });
  const labels = workload.metadata.labels ?? {};
  if (Object.keys(labels).length > 0) return labels;
  throw new AppError("Usage", `workload "${name}" has no labels to select it by`, { hint: `register it again with --label app=${name}` });
}

/** Without --port: those of the workload. A workload's only port is meant also when the service's has another number. */
export function portsFor(
  given: readonly PortOption[],
  targetPort: string | undefined,
  workload: Workload | undefined,
): (PortOption & { targetPort?: number | string })[] {
  const listening = workload?.spec.ports ?? [];
  if (given.length === 0) {
    if (listening.length === 0)
      throw new AppError("Usage", "which port?", { hint: "give --port 80, or --port http=80 --target-port 8080" });
    return listening.map(({ name, port, protocol }) => ({ ...(name !== undefined && { name }), port, protocol }));
  }
  return given.map((port) => {
    if (targetPort !== undefined) return { ...port, targetPort: portRef(targetPort) };
    const [only, ...others] = listening;
    if (given.length > 1 || !only || others.length > 0 || only.port === port.port) return port;
    return { ...port, targetPort: only.name ?? only.port };
  });
}
