import { SERVICE_NAME_LABEL, serviceKeyOf } from "#proto/endpoint-slice.ts";
import { errorCodes, isAppError } from "#proto/error.ts";
import type { AnyObject } from "#proto/kinds.ts";
import type { Service } from "#proto/service.ts";
import { matchesSelector } from "#proto/selector.ts";
import type { Workload } from "#proto/workload.ts";
import { orUndefined, type Client } from "#proto/client.ts";
import { describeEndpointSlice, describeNamespace, describeNode, describeWorkload } from "../output/describe.ts";
import { describeService, whyNoEndpoint } from "../output/describe-service.ts";
import { eventsSection, fields, metadataFields } from "../output/describe-text.ts";
import { renderError } from "../output/error.ts";
import { say, type Invocation, type Io } from "../io.ts";
import { openSession } from "../session.ts";
import { namespaceOf, parseTargets, type Target } from "../targets.ts";

interface DescribeOptions {
  readonly selector?: string;
  readonly allNamespaces?: true;
}

interface Asked {
  readonly client: Client;
  readonly signal: AbortSignal;
}

export async function describe({ args, options, io }: Invocation<DescribeOptions>): Promise<number> {
  const targets = parseTargets(args);
  await using session = await openSession(options, io);
  const asked: Asked = { client: session.client, signal: io.stop };
  const namespace = namespaceOf(targets, { allNamespaces: options.allNamespaces === true, namespace: session.namespace });
  let code = 0;
  const objects: AnyObject[] = [];
  for (const target of targets)
    for await (const found of objectsOf(target, { ...asked, namespace, labelSelector: options.selector }))
      if ("error" in found) {
        io.err(renderError(found.error));
        code = errorCodes.NotFound.exit;
      } else objects.push(found);
  if (objects.length === 0 && code === 0)
    say(io, namespace === undefined ? "No resources found" : `No resources found in ${namespace} namespace.`);
  await printAll(objects, asked, io);
  return code;
}

async function printAll(objects: readonly AnyObject[], asked: Asked, io: Io): Promise<void> {
  for (const [i, object] of objects.entries()) {
    const text = await textOf(object, asked);
    const events = object.kind === "Event" ? "" : eventsSection(await eventsOf(object, asked), Date.now());
    io.out(`${i > 0 ? "\n\n" : ""}${text}${events}`);
  }
}

async function* objectsOf(
  { kind, names }: Target,
  {
    client,
    signal,
    namespace,
    labelSelector,
  }: Asked & { readonly namespace: string | undefined; readonly labelSelector: string | undefined },
): AsyncGenerator<AnyObject | { error: unknown }> {
  if (names === undefined) {
    yield* (await client.list(kind, { namespace, labelSelector, signal })).items;
    return;
  }
  for (const name of names)
    try {
      yield await client.get(kind, name, { namespace, signal });
    } catch (error) {
      if (!isAppError(error, "NotFound")) throw error;
      yield { error };
    }
}

async function textOf(object: AnyObject, asked: Asked): Promise<string> {
  switch (object.kind) {
    case "Service":
      return serviceText(object, asked);
    case "Node": {
      const all = await asked.client.list("Workload", { signal: asked.signal, fieldSelector: `spec.node=${object.metadata.name}` });
      return describeNode(object, all.items, Date.now());
    }
    case "Workload":
      return describeWorkload(object, await servicesOf(object, asked));
    case "EndpointSlice":
      return describeEndpointSlice(object);
    case "Namespace":
      return describeNamespace(object, await countsIn(object.metadata.name, asked));
    case "Event":
      return fields([...metadataFields(object.metadata), ["Type", object.type], ["Reason", object.reason], ["Message", object.message]]);
  }
}

/** Reads what the service's endpoints refer to, and nothing else: a namespace may hold thousands of workloads. */
async function serviceText(service: Service, { client, signal }: Asked): Promise<string> {
  const namespace = service.metadata.namespace;
  const { items: slices } = await client.list("EndpointSlice", {
    namespace,
    signal,
    labelSelector: `${SERVICE_NAME_LABEL}=${service.metadata.name}`,
  });
  const selector = Object.entries(service.spec.selector ?? {}).map(([key, value]) => `${key}=${value}`);
  const workloads =
    selector.length > 0 ? (await client.list("Workload", { namespace, signal, labelSelector: selector.join(",") })).items : [];
  const nodeNames = new Set(slices.flatMap((slice) => slice.endpoints.flatMap(({ nodeName }) => nodeName ?? [])));
  const nodes = await Promise.all([...nodeNames].slice(0, 100).map((name) => orUndefined(client.get("Node", name, { signal }))));
  return describeService({
    service,
    slices,
    workloads: new Map(workloads.map((workload) => [workload.metadata.name, workload])),
    nodes: new Map(nodes.flatMap((node) => (node ? [[node.metadata.name, node]] : []))),
  });
}

/** The services whose selector matches; with the address that they gave it, if it is an endpoint by now. */
async function servicesOf(workload: Workload, { client, signal }: Asked): Promise<string[]> {
  const namespace = workload.metadata.namespace;
  const [services, slices] = await Promise.all([
    client.list("Service", { namespace, signal }),
    client.list("EndpointSlice", { namespace, signal }),
  ]);
  return services.items
    .filter(({ spec }) => matchesSelector(spec.selector, workload.metadata.labels))
    .map((service) => {
      const { metadata } = service;
      const endpoints = slices.items
        .filter((slice) => serviceKeyOf(slice) === `${namespace ?? "default"}/${metadata.name}`)
        .flatMap((slice) => slice.endpoints)
        .filter(({ targetRef }) => targetRef?.name === workload.metadata.name);
      const why = whyNoEndpoint(service, workload);
      if (endpoints.length === 0) return `${metadata.name}  not an endpoint${why === undefined ? "" : `: ${why}`}`;
      return `${metadata.name}  ${endpoints.some(({ conditions }) => conditions.ready !== false) ? "ready" : "not ready"}`;
    });
}

async function countsIn(namespace: string, { client, signal }: Asked): Promise<Record<string, number>> {
  const [services, workloads] = await Promise.all([
    client.list("Service", { namespace, signal }),
    client.list("Workload", { namespace, signal }),
  ]);
  return { Services: services.items.length, Workloads: workloads.items.length };
}

async function eventsOf({ kind, metadata }: AnyObject, { client, signal }: Asked) {
  const fieldSelector = `involvedObject.kind=${kind},involvedObject.name=${metadata.name}`;
  return (await client.list("Event", { namespace: metadata.namespace, fieldSelector, signal })).items;
}
