import { AppError, type Cause } from "#proto/error.ts";
import { formatIp, parseIp, type IpFamily } from "#proto/ip.ts";
import { fault } from "#proto/parse.ts";
import { clusterIpsOf, HEADLESS, type Service } from "#proto/service.ts";
import type { Pool } from "./pool.ts";
import type { Ranges } from "./ranges.ts";

/** Which virtual addresses a service has: one for each of its families, kept as long as it lives. */

export interface AddressParts {
  readonly ranges: Ranges;
  readonly pools: ReadonlyMap<IpFamily, Pool>;
  /** Whether somebody other than this service holds it. */
  readonly isTaken: (claim: string) => Promise<boolean>;
}

type Spec = Service["spec"];

export function ipClaim(ip: string): string {
  return `ip/${ip}`;
}

export function addressClaims(service: Service): string[] {
  return clusterIpsOf(service).map(ipClaim);
}

/**
 * The spec with families, policy and addresses filled in. What is wrong with it goes to `faults`: then it is good for nothing but to find more, and where
 * there are any no address is taken from the walk.
 */
export async function withAddresses(previous: Spec | undefined, spec: Spec, parts: AddressParts, faults: Cause[]): Promise<Spec> {
  const known = faults.length;
  const given = ipsIn(spec);
  const before = previous === undefined || previous.type === "ExternalName" ? [] : ipsIn(previous);
  if (spec.type === "ExternalName") return withoutAddresses(previous, spec, faults);
  if (given[0] !== undefined && before[0] !== undefined && given[0] !== before[0]) {
    faults.push(fault("spec.clusterIPs[0]", "may not change once set", { value: given }));
    return spec;
  }
  if (before.length > 0 && previous && !keepsFamilies(previous, spec, before, faults)) return spec;
  if (before[0] === HEADLESS && spec.type !== "ClusterIP") {
    faults.push(fault("spec.clusterIPs[0]", `may not be set to 'None' for ${spec.type} services`, { value: HEADLESS }));
    return spec;
  }
  // What an update leaves out stays as it was.
  const kept = before.length > 0 ? { ipFamilies: previous?.ipFamilies, ipFamilyPolicy: previous?.ipFamilyPolicy } : {};
  const ipFamilyPolicy = spec.ipFamilyPolicy ?? kept.ipFamilyPolicy ?? (bothAsked(spec, given) ? "RequireDualStack" : "SingleStack");
  const asked = { ...spec, ipFamilies: spec.ipFamilies ?? kept.ipFamilies, ipFamilyPolicy };
  const wanted = given.length > 1 ? given : [...new Set([...given, ...before])];
  const ipFamilies = familiesFor(asked, wanted, before.length > 1, parts.ranges, faults);
  if (faults.length > known) return spec;
  const filled = { ...spec, ipFamilies, ipFamilyPolicy };
  if (wanted[0] === HEADLESS) return { ...filled, clusterIP: HEADLESS, clusterIPs: [HEADLESS] };

  const clusterIPs: string[] = [];
  for (const family of ipFamilies) {
    const ip = wanted.find((one) => parseIp(one)?.family === family);
    if (ip !== undefined && !before.includes(ip)) await checkAsked(ip, given, parts, faults);
    const chosen = ip ?? (faults.length > 0 ? undefined : allocate(family, parts));
    if (chosen !== undefined) clusterIPs.push(chosen);
  }
  return { ...filled, clusterIP: clusterIPs[0], clusterIPs };
}

/** The first family stays; the second may come, and go when the policy says so. */
function keepsFamilies(previous: Spec, spec: Spec, before: readonly string[], faults: Cause[]): boolean {
  const former = previous.ipFamilies ?? [];
  const { ipFamilies: asked = former, ipFamilyPolicy = previous.ipFamilyPolicy } = spec;
  const changed = before[0] === HEADLESS ? -1 : asked.findIndex((family, i) => former[i] !== undefined && former[i] !== family);
  const refuse = (field: string, message: string, value: unknown): false => {
    faults.push(fault(`spec.${field}`, message, { value }));
    return false;
  };
  if (changed !== -1) return refuse(`ipFamilies[${changed}]`, "may not change once set", asked);
  if (former.length <= asked.length || ipFamilyPolicy === "SingleStack") return true;
  return refuse("ipFamilyPolicy", "must be set to 'SingleStack' when releasing the secondary ipFamily", ipFamilyPolicy ?? null);
}

/** In the canonical form, so that one address has one claim. */
function ipsIn({ clusterIP, clusterIPs }: Spec): string[] {
  const texts = clusterIPs !== undefined && clusterIPs.length > 0 ? clusterIPs : [clusterIP ?? ""];
  return texts
    .filter((text) => text !== "")
    .map((text) => {
      const ip = parseIp(text);
      return ip ? formatIp(ip) : text;
    });
}

/** A change of type lets go of what the service had; it may not be asked for anew. */
function withoutAddresses(previous: Spec | undefined, spec: Spec, faults: Cause[]): Spec {
  const { clusterIP: _ip, clusterIPs: _ips, ipFamilies, ipFamilyPolicy, ...rest } = spec;
  const refuse = (field: string, value: unknown): void =>
    void faults.push(fault(`spec.${field}`, "may not be set for ExternalName services", { reason: "FieldValueForbidden", value }));
  const given = ipsIn(spec);
  const before = previous ? ipsIn(previous) : [];
  if (given.some((ip) => !before.includes(ip))) refuse("clusterIPs", given);
  if (ipFamilies?.some((family) => previous?.ipFamilies?.includes(family) !== true)) refuse("ipFamilies", ipFamilies);
  if (ipFamilyPolicy !== undefined && ipFamilyPolicy !== previous?.ipFamilyPolicy) refuse("ipFamilyPolicy", ipFamilyPolicy);
  return rest;
}

function bothAsked({ ipFamilies = [] }: Spec, given: readonly string[]): boolean {
  return ipFamilies.length > 1 || given.length > 1;
}

function familiesFor(
  { ipFamilies: asked = [], ipFamilyPolicy }: Pick<Spec, "ipFamilies" | "ipFamilyPolicy">,
  wanted: readonly string[],
  hadBoth: boolean,
  ranges: Ranges,
  faults: Cause[],
): IpFamily[] {
  const isHeadless = wanted[0] === HEADLESS;
  const families = wanted.map((ip) => parseIp(ip)?.family);
  for (const [i, family] of asked.entries()) {
    if (!isHeadless && !ranges.of(family)) faults.push(fault(`spec.ipFamilies[${i}]`, "not configured on this cluster", { value: family }));
    if (families[i] !== undefined && families[i] !== family)
      faults.push(fault(`spec.clusterIPs[${i}]`, `expected an ${family} value as indicated by \`ipFamilies[${i}]\``, { value: wanted[i] }));
  }
  const first = asked[0] ?? families[0] ?? ranges.families[0] ?? "IPv4";
  const others = [asked[1], families[1], ...ranges.families].filter((family) => family !== undefined && family !== first);
  const second = others[0];
  if (ipFamilyPolicy === "SingleStack") {
    // Going back to one family lets go of the second address; asking for both and for one is a contradiction.
    const several = asked.length > 1 ? "ipFamilies" : wanted.length > 1 ? "clusterIPs" : undefined;
    if (!hadBoth && several !== undefined)
      faults.push(
        fault("spec.ipFamilyPolicy", `must be RequireDualStack or PreferDualStack when multiple '${several}' are specified`, {
          value: ipFamilyPolicy,
        }),
      );
    return [first];
  }
  if (second !== undefined) return [first, second];
  if (ipFamilyPolicy === "RequireDualStack")
    faults.push(fault("spec.ipFamilyPolicy", "this cluster is not configured for dual-stack services", { value: ipFamilyPolicy }));
  return [first];
}

/** An address that the user chose. */
async function checkAsked(ip: string, given: readonly string[], { ranges, isTaken }: AddressParts, faults: Cause[]): Promise<void> {
  const refuse = (why: string): void => {
    faults.push(fault("spec.clusterIPs", `failed to allocate IP ${ip}: ${why}`, { value: given }));
  };
  const parsed = parseIp(ip);
  const range = parsed && ranges.of(parsed.family);
  const index = parsed && range?.indexOf(parsed);
  if (!range || index === undefined) refuse(`the provided network does not match the current range${range ? ` ${range.text}` : ""}`);
  else if (index === range.dnsIndex) refuse("it is the address of the DNS service");
  else if (range.reserved.has(index)) refuse("it is the address of the network itself");
  else if (await isTaken(ipClaim(ip))) refuse("provided IP is already allocated");
}

function allocate(family: IpFamily, { ranges, pools }: AddressParts): string {
  const range = ranges.of(family);
  const index = pools.get(family)?.next();
  if (range && index !== undefined) return range.at(index);
  throw new AppError("ServiceUnavailable", `no address is left in the range of virtual addresses ${range?.text ?? family}`, {
    hint: "delete services that are not needed any more, or make some headless (clusterIP: None)",
  });
}
