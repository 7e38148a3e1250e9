import { createHash } from "node:crypto";
import { describeError } from "#proto/error.ts";
import { keyOf, type ObjectKey } from "#proto/meta.ts";
import { parseObject } from "#proto/parse.ts";
import {
  ADDRESS_REASON_ANNOTATION,
  CONTAINER_ANNOTATION,
  EXPOSE_ANNOTATION,
  LOCAL_CHECKS_ANNOTATION,
  type Workload,
} from "#proto/workload.ts";
import { marked } from "#agent/workloads/mark.ts";
import { shortId, type Container } from "./container.ts";
import { readLabels, type ContainerWish, type WishedCheck } from "./labels.ts";
import { placeOf, type Place, type PlaceFacts } from "./place.ts";

/** A container → the Workload that it is to be. Pure. */
export type Found =
  | { readonly kind: "workload"; readonly key: ObjectKey; readonly workload: Workload; readonly health: DockerHealth | undefined }
  /** It asks for something that cannot be. */
  | { readonly kind: "fault"; readonly why: string }
  /** It asks for nothing, or does not run. */
  | { readonly kind: "none" };

/** What its HEALTHCHECK says, where that decides. */
export type DockerHealth = "starting" | "healthy" | "unhealthy";

export interface HostFacts extends PlaceFacts {
  readonly nodeName: string;
}

const SOURCE = "docker://";

export function sourceFor({ Name }: Pick<Container, "Name">): string {
  return `${SOURCE}${Name}`;
}

/** The name of the container of a mark; undefined when it is no container's. */
export function containerOf(source: string): string | undefined {
  return source.startsWith(SOURCE) ? source.slice(SOURCE.length) : undefined;
}

export function workloadOf(container: Container, facts: HostFacts): Found {
  const { Running, Paused, Restarting } = container.State;
  if (!Running || Paused || Restarting) return { kind: "none" };
  try {
    const wish = readLabels(container.Config.Labels);
    if (!wish) return { kind: "none" };
    const place = placeOf(container, wish.ports, facts);
    // A check that is asked for by a label is the one that counts.
    const health = wish.check ? undefined : healthOf(container);
    const workload = marked(parseObject("Workload", manifestOf(container, { wish, place, health, facts })), sourceFor(container));
    return { kind: "workload", key: keyOf(workload), workload, health };
  } catch (error) {
    return { kind: "fault", why: describeError(error) };
  }
}

interface Parts {
  readonly wish: ContainerWish;
  readonly place: Place;
  readonly health: DockerHealth | undefined;
  readonly facts: HostFacts;
}

function manifestOf(container: Container, { wish, place, health, facts }: Parts): unknown {
  const { address, reach, ports, reason } = place;
  return {
    apiVersion: "fairlead.dev/v1",
    kind: "Workload",
    metadata: {
      name: workloadName(container.Name, facts.nodeName),
      namespace: wish.namespace,
      labels: wish.labels,
      annotations: {
        [CONTAINER_ANNOTATION]: shortId(container),
        [ADDRESS_REASON_ANNOTATION]: reason,
        ...(wish.expose && { [EXPOSE_ANNOTATION]: wish.service }),
        ...(health !== undefined && { [LOCAL_CHECKS_ANNOTATION]: "1" }),
      },
    },
    spec: {
      node: facts.nodeName,
      ...(address !== undefined && { address }),
      ...(reach !== undefined && { reach }),
      ports,
      weight: wish.weight,
      checks: wish.check ? [checkFor(wish.check, place)] : [],
    },
  };
}

/** Ports are named as they are inside the container. */
function checkFor(check: WishedCheck, { ports }: Place): unknown {
  const wanted = check.port;
  const found =
    wanted === undefined ? ports[0] : ports.find(({ name, port, containerPort = port }) => name === wanted || containerPort === wanted);
  if (!found) throw new Error(`fairlead.check: no port of the container is named or numbered ${wanted ?? ""}`);
  return check.kind === "http" ? { http: { port: found.port, path: check.path } } : { tcp: { port: found.port } };
}

function healthOf({ State: { Health } }: Container): DockerHealth | undefined {
  const status = Health?.Status;
  return status === "starting" || status === "healthy" || status === "unhealthy" ? status : undefined;
}

const MAX_NAME = 63;

/** `CONTAINER-NODE`: containers of different hosts often have the same name. What is no DNS label, or too long, ends in a hash. */
export function workloadName(container: string, node: string): string {
  const whole = `${container}-${node}`;
  const plain = whole
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, "-")
    .replaceAll(/^-+|-+$/g, "");
  if (plain === whole && plain.length <= MAX_NAME) return plain;
  const hash = createHash("sha256").update(whole).digest("hex").slice(0, 8);
  return `${plain.slice(0, MAX_NAME - 9).replace(/-+$/, "")}-${hash}`;
}
