import type { RuleFault } from "./kinds.ts";
import { parseIp } from "./ip.ts";

/** What fields of a Service ask of each other, in Kubernetes' words where it has some. Rules: kubernetes/pkg/apis/core/validation, ValidateService. */

export const HEADLESS = "None";

interface Port {
  readonly name?: string | undefined;
  readonly protocol: string;
  readonly port: number;
  readonly nodePort?: number | undefined;
}

interface Spec {
  readonly type: string;
  readonly ports: readonly Port[];
  readonly clusterIP?: string | undefined;
  readonly clusterIPs?: readonly string[] | undefined;
  readonly ipFamilies?: readonly string[] | undefined;
  readonly externalName?: string | undefined;
}

export function checkService(spec: Spec, fault: RuleFault): void {
  const inSpec: RuleFault = (path, message, kind) => fault(["spec", ...path], message, kind);
  checkPorts(spec, inSpec);
  checkType(spec, inSpec);
  checkAddresses(spec, inSpec);
}

function checkPorts(spec: Spec, fault: RuleFault): void {
  if (spec.ports.length === 0 && spec.type !== "ExternalName" && spec.clusterIP !== HEADLESS)
    fault(["ports"], "must have at least one port", "Required");
  const names = new Set<string>();
  const numbers = new Set<string>();
  const nodePorts = new Set<string>();
  for (const [i, port] of spec.ports.entries()) {
    const name = port.name ?? "";
    if (name === "" && spec.ports.length > 1) fault(["ports", i, "name"], "is needed where a service has several ports", "Required");
    else if (names.has(name)) fault(["ports", i, "name"], `two ports may not have the same name`, "Duplicate");
    names.add(name);
    const number = `${port.port}/${port.protocol}`;
    if (numbers.has(number)) fault(["ports", i], `port ${number} stands there twice`, "Duplicate");
    numbers.add(number);
    if (port.nodePort === undefined) continue;
    const nodePort = `${port.nodePort}/${port.protocol}`;
    if (nodePorts.has(nodePort)) fault(["ports", i, "nodePort"], `node port ${nodePort} stands there twice`, "Duplicate");
    nodePorts.add(nodePort);
  }
}

function checkType({ type, externalName, clusterIP, clusterIPs }: Spec, fault: RuleFault): void {
  if (type === "ExternalName" && externalName === undefined) fault(["externalName"], "is needed for the type ExternalName", "Required");
  if ((clusterIP ?? clusterIPs?.[0]) === HEADLESS && type !== "ClusterIP" && type !== "ExternalName")
    fault(clusterIPs === undefined ? ["clusterIP"] : ["clusterIPs", 0], `may not be set to 'None' for ${type} services`);
}

function checkAddresses({ clusterIP = "", clusterIPs = [], ipFamilies = [] }: Spec, fault: RuleFault): void {
  const [first, second] = clusterIPs;
  if (first !== undefined && clusterIP !== "" && first !== clusterIP) fault(["clusterIPs"], "first value must match `clusterIP`");
  if (second !== undefined && (first === HEADLESS || second === HEADLESS)) fault(["clusterIPs"], "'None' must be the first and only value");
  const [a, b] = clusterIPs.map((text) => parseIp(text)?.family);
  if (a !== undefined && a === b) fault(["clusterIPs"], "may specify no more than one IP for each IP family");
  if (ipFamilies.length > 1 && ipFamilies[0] === ipFamilies[1]) fault(["ipFamilies", 1], "stands there twice", "Duplicate");
}

/** Go's clients write what is not set as empty text or zero; such a field is none. */
const ZEROS: Readonly<Record<string, string | number>> = {
  type: "",
  sessionAffinity: "",
  externalTrafficPolicy: "",
  externalName: "",
  healthCheckNodePort: 0,
};
const PORT_ZEROS: Readonly<Record<string, string | number>> = { name: "", protocol: "", targetPort: 0, nodePort: 0 };

/** A spec as it came, without such fields. */
export function withoutZeros(spec: unknown): unknown {
  if (!isObject(spec)) return spec;
  const { ports } = spec;
  const rest = without(spec, ZEROS);
  return Array.isArray(ports)
    ? { ...rest, ports: ports.map((port: unknown) => (isObject(port) ? without(port, PORT_ZEROS) : port)) }
    : rest;
}

function without(object: Readonly<Record<string, unknown>>, zeros: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([key, value]) => !Object.hasOwn(zeros, key) || zeros[key] !== value));
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
