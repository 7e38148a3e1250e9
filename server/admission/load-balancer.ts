import type { Cause } from "#proto/error.ts";
import { parseIp, type IpFamily } from "#proto/ip.ts";
import { DnsSubdomain } from "#proto/meta.ts";
import { fault } from "#proto/parse.ts";
import { clusterIpsOf, LOAD_BALANCER_IPS_ANNOTATION, type LoadBalancerIngress, type Service } from "#proto/service.ts";
import { canonicalIp, outsideFault, type OutsideParts } from "./outside-addresses.ts";
import type { Pool } from "./pool.ts";
import type { Ranges } from "./ranges.ts";

/** Which addresses the load balancer of a service has: those asked for, else those that somebody set, else one of the pool for each family. */

export interface BalancerParts {
  readonly ranges: Ranges;
  readonly pools: ReadonlyMap<IpFamily, Pool>;
  readonly outside: OutsideParts;
}

type Entries = readonly LoadBalancerIngress[];

/** The service with its status filled in; `spec` has its families already. What is wrong goes to `faults`, and then it is not to be used. */
export async function withLoadBalancer(
  previous: Service | undefined,
  next: Service,
  parts: BalancerParts,
  faults: Cause[],
): Promise<Service> {
  if (next.spec.type !== "LoadBalancer") return withIngress(next, []);
  if (!next.spec.ipFamilies) return next; // refused already
  const former = previous?.spec.type === "LoadBalancer" ? askedOf(previous, []) : new Map<IpFamily, Asked>();
  const asked = askedOf(next, faults);
  const standing = next.status.loadBalancer.ingress ?? [];
  const others = standing.filter((entry) => familyOf(entry) === undefined);
  const chosen: LoadBalancerIngress[] = [];
  for (const family of next.spec.ipFamilies) {
    const own = standing.filter((entry) => familyOf(entry) === family);
    const wish = asked.get(family);
    if (wish) chosen.push(...(await wished(wish, { own, former: former.get(family)?.ip, parts, faults })));
    else if (faults.length === 0) chosen.push(...(await keptOrGiven({ own, others, family, former: former.get(family)?.ip, parts })));
  }
  return withIngress(next, [...chosen, ...others]);
}

/** Of what somebody has set by hand. Fills in the mode, as Kubernetes does. */
export async function withCheckedIngress(
  previous: Service | undefined,
  next: Service,
  parts: BalancerParts,
  faults: Cause[],
): Promise<Service> {
  const field = "status.loadBalancer.ingress";
  const entries = next.status.loadBalancer.ingress ?? [];
  if (entries.length > 0 && next.spec.type !== "LoadBalancer") {
    const message = 'may only be used when `spec.type` is "LoadBalancer"';
    faults.push(fault(field, message, { reason: "FieldValueForbidden", value: entries }));
    return next;
  }
  const held = new Set(addressesIn(previous?.status.loadBalancer.ingress));
  const seen = new Set<string>();
  for (const [i, entry] of entries.entries()) {
    checkForm(entry, `${field}[${i}]`, faults);
    const family = familyOf(entry);
    if (family === undefined) continue;
    const ip = canonicalIp(entry.ip ?? "");
    const refuse = (message: string, reason: Cause["reason"] = "FieldValueInvalid"): void =>
      void faults.push(fault(`${field}[${i}].ip`, message, { reason, value: entry.ip }));
    if (seen.has(ip)) refuse("stands there twice", "FieldValueDuplicate");
    seen.add(ip);
    if (held.has(ip)) continue;
    const why = familyFault(next, family) ?? (await outsideFault(ip, "all", parts.outside));
    if (why !== undefined) refuse(why);
  }
  return withIngress(next, entries);
}

function checkForm({ ip, hostname, ipMode }: LoadBalancerIngress, field: string, faults: Cause[]): void {
  if (ipMode !== undefined && ip === undefined)
    faults.push(fault(`${field}.ipMode`, "may not be specified when `ip` is not set", { reason: "FieldValueForbidden", value: ipMode }));
  if (hostname !== undefined && (parseIp(hostname) || !DnsSubdomain.safeParse(hostname).success))
    faults.push(fault(`${field}.hostname`, "must be a DNS name, not an IP address", { value: hostname }));
}

interface Asked {
  readonly field: string;
  readonly ip: string;
}

/** One of each family at most, canonical: of the field, and of the annotation, which can name two. */
function askedOf(service: Service, faults: Cause[]): Map<IpFamily, Asked> {
  const { metadata, spec } = service;
  const asked = new Map<IpFamily, Asked>();
  const take = (field: string, text: string): void => {
    const family = parseIp(text)?.family;
    const ip = canonicalIp(text);
    const other = family && asked.get(family);
    const why = !family
      ? "must be an IPv4 or IPv6 address"
      : other && other.ip !== ip
        ? `names another ${family} address than ${other.field} (${other.ip})`
        : familyFault(service, family);
    if (why !== undefined) faults.push(fault(field, why, { value: text }));
    else if (family) asked.set(family, { field, ip });
  };
  if (spec.loadBalancerIP !== undefined && spec.loadBalancerIP !== "") take("spec.loadBalancerIP", spec.loadBalancerIP);
  const more = (metadata.annotations?.[LOAD_BALANCER_IPS_ANNOTATION] ?? "").split(",").map((text) => text.trim());
  for (const text of more.filter((one) => one !== "")) take(`metadata.annotations[${LOAD_BALANCER_IPS_ANNOTATION}]`, text);
  return asked;
}

interface Wish {
  readonly own: Entries;
  readonly former: string | undefined;
  readonly parts: BalancerParts;
  readonly faults: Cause[];
}

/** A wish that is new counts; one that stood already does not undo what somebody has set since. */
async function wished({ field, ip }: Asked, { own, former, parts, faults }: Wish): Promise<Entries> {
  if (addressesIn(own).includes(ip) || (own.length > 0 && former === ip)) return own;
  const why = await outsideFault(ip, "all", parts.outside);
  if (why !== undefined) faults.push(fault(field, why, { value: ip }));
  return [{ ip, ipMode: "VIP" }];
}

interface Standing {
  readonly own: Entries;
  readonly others: Entries;
  readonly family: IpFamily;
  readonly former: string | undefined;
  readonly parts: BalancerParts;
}

/** An address that was asked for goes with the wish, unless it is one of the pool's. Where somebody else's load balancer stands, none is given. */
async function keptOrGiven({ own, others, family, former, parts }: Standing): Promise<Entries> {
  const inPool = (ip: string): boolean => {
    const parsed = parseIp(ip);
    return parsed !== undefined && parts.ranges.holding(parsed) !== undefined;
  };
  const kept = own.filter(({ ip = "" }) => former === undefined || canonicalIp(ip) !== former || inPool(ip));
  if (kept.length > 0 || others.length > 0) return kept;
  const ip = await allocate(family, parts);
  return ip === undefined ? [] : [{ ip, ipMode: "VIP" }];
}

/** undefined when none is left: the service stands, and waits for an address, as it does where there is no pool. */
async function allocate(family: IpFamily, { ranges, pools, outside }: BalancerParts): Promise<string | undefined> {
  const range = ranges.of(family);
  const pool = pools.get(family);
  // One that the pool takes for free may be behind a host, or be the server's own; each is looked at once.
  for (let left = pool?.free ?? 0; range && pool && left > 0; left--) {
    const index = pool.next();
    if (index === undefined) return undefined;
    const ip = range.at(index);
    if ((await outsideFault(ip, "all", outside)) === undefined) return ip;
  }
  return undefined;
}

function familyFault(service: Service, family: IpFamily): string | undefined {
  const families = new Set(service.spec.ipFamilies ?? clusterIpsOf(service).map((ip) => parseIp(ip)?.family));
  return families.has(family) ? undefined : `the service has no ${family} address of its own (spec.ipFamilies)`;
}

/** undefined of entries at which no host answers: names, and those of mode Proxy. */
function familyOf({ ip = "", ipMode = "VIP" }: LoadBalancerIngress): IpFamily | undefined {
  return ipMode === "VIP" ? parseIp(ip)?.family : undefined;
}

function addressesIn(entries: Entries = []): string[] {
  return entries.flatMap((entry) => (familyOf(entry) === undefined ? [] : [canonicalIp(entry.ip ?? "")]));
}

function withIngress(service: Service, entries: Entries): Service {
  const { ingress: _before, ...rest } = service.status.loadBalancer;
  const ingress = entries.map((entry) => (entry.ip === undefined ? entry : { ipMode: "VIP" as const, ...entry }));
  return { ...service, status: { ...service.status, loadBalancer: ingress.length === 0 ? rest : { ...rest, ingress } } };
}
