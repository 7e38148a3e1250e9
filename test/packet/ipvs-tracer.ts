import { contains, parseCidr, parseIp, type IpFamily } from "#proto/ip.ts";
import type { ForwardingTable } from "#agent/compile/table.ts";
import { frontendsOf } from "#agent/dataplane/frontends.ts";
import { EXTERNAL_LINES } from "#agent/dataplane/ipvs/device.ts";
import { setWord } from "#agent/dataplane/ipvs/names.ts";
import { rulesOf, type Hook, type Rules, type TableName } from "#agent/dataplane/ipvs/render.ts";
import { IpvsState } from "#agent/dataplane/ipvs/state.ts";
import { applySteps, emptyModel, type IpvsModel, type ModelServer } from "./ipvs-model.ts";
import { oncePerTable } from "./once-per-table.ts";
import type { Outcome, Packet, Surroundings } from "./packet.ts";

/** Walks the first packet of a connection through what the IPVS driver writes, and gives every way that it may go with its share. */
export function walkIpvs(table: ForwardingTable, family: IpFamily, packet: Packet, around: Surroundings): readonly Outcome[] {
  return walkKernel({ ...rendered(table, family), packet, around });
}

const rendered = oncePerTable((table, family) => {
  const state = new IpvsState(family, { host: table.host, hasScheduler: () => true });
  for (const frontend of frontendsOf(table.services.values(), family)) state.put(frontend);
  const rules = rulesOf(family, table.host, { isLiberal: false });
  return { rules, model: applySteps(emptyModel(family), state.takeSteps()) };
});

interface Kernel {
  readonly rules: Rules;
  readonly model: IpvsModel;
  readonly packet: Packet;
  readonly around: Surroundings;
}

/** A packet on its way. */
interface At {
  readonly address: string;
  readonly port: number;
  readonly mark: number;
  readonly scheduled: boolean;
  readonly masqueraded: boolean;
  readonly out: "lo" | "elsewhere" | undefined;
  /** Is the route that it has the one to this host itself? */
  readonly here: boolean;
}

type Verdict = "pass" | "ACCEPT" | "REJECT" | "DROP";

export function walkKernel(kernel: Kernel): readonly Outcome[] {
  const { packet } = kernel;
  const start: At = {
    address: packet.address,
    port: packet.port,
    mark: 0,
    scheduled: false,
    masqueraded: false,
    out: undefined,
    here: false,
  };
  return packet.origin === "host" ? fromHost(kernel, start) : arriving(kernel, start);
}

function arriving(kernel: Kernel, start: At): readonly Outcome[] {
  const routed = through(kernel, start, ["mangle", "PREROUTING"], ["nat", "PREROUTING"]);
  if (typeof routed === "string") return ended(routed);
  if (!isRoutedHere(kernel, routed, "elsewhere")) {
    const forwarded = through(kernel, { ...routed, out: "elsewhere" }, ["filter", "FORWARD"]);
    return typeof forwarded === "string" ? ended(forwarded) : leaving(kernel, forwarded);
  }
  const let_in = through(kernel, routed, ["mangle", "INPUT"], ["filter", "INPUT"]);
  if (typeof let_in === "string") return ended(let_in);
  return scheduled(kernel, let_in) ?? delivered(kernel, let_in);
}

function fromHost(kernel: Kernel, start: At): readonly Outcome[] {
  const sent = through(kernel, start, ["mangle", "OUTPUT"], ["nat", "OUTPUT"]);
  if (typeof sent === "string") return ended(sent);
  const toItself = isRoutedHere(kernel, sent, "lo");
  const balanced = scheduled(kernel, { ...sent, here: toItself });
  if (balanced) return balanced;
  const filtered = through(kernel, { ...sent, out: toItself ? "lo" : "elsewhere" }, ["filter", "OUTPUT"], ["mangle", "POSTROUTING"]);
  if (typeof filtered === "string") return ended(filtered);
  return toItself ? arriving(kernel, filtered) : leaving(kernel, filtered);
}

/** By its mark, or else by its address: undefined when no virtual server takes it. */
function scheduled(kernel: Kernel, at: At): readonly Outcome[] | undefined {
  const { packet, model, around } = kernel;
  const six = at.address.includes(":");
  const option = { tcp: "-t", udp: "-u", sctp: "--sctp-service", icmp: "" }[packet.protocol];
  const byAddress = `${option} ${six ? `[${at.address}]` : at.address}:${at.port}`;
  const byMark = `-f ${at.mark}${six ? " -6" : ""}`;
  const key = model.servers.has(byMark) ? byMark : byAddress;
  const server = model.servers.get(key);
  if (!server) return undefined;
  const choices = choicesOf(server, key, packet, around);
  if (choices.length === 0) return ended("REJECT"); // ip_vs_leave: ICMP port unreachable
  return choices.flatMap(({ real, share }) => {
    const split = real.lastIndexOf(":");
    const address = real.slice(0, split).replace(/^\[|\]$/g, "");
    // ip_vs_sched_persist translates the port only where the virtual server has one.
    const port = key === byMark && server.persistence > 0 ? at.port : Number(real.slice(split + 1));
    const next: At = { ...at, address, port, scheduled: true };
    const remembered = isSticky(server) ? `${key} ${real}` : undefined;
    const ways = isLocal(kernel, address) ? toHere(kernel, next) : sentOn(kernel, { ...next, out: "elsewhere" });
    return ways.map((way) => ({ ...way, share: way.share * share, remembered }));
  });
}

const isSticky = ({ persistence, scheduler }: ModelServer): boolean => persistence > 0 || scheduler === "mh" || scheduler === "sh";

/** To this host itself, by the route that the packet has (__ip_vs_get_out_rt): what came in is delivered at once, what it sent goes over lo. */
function toHere(kernel: Kernel, at: At): readonly Outcome[] {
  if (kernel.packet.origin === "forwarded") return delivered(kernel, at);
  return at.here ? sentOn(kernel, { ...at, out: "lo" }) : ended("DROP"); // it leaves for the gateway, with an address of this host on it
}

function choicesOf(server: ModelServer, key: string, packet: Packet, around: Surroundings): readonly { real: string; share: number }[] {
  const open = [...server.reals].filter(([, weight]) => weight > 0);
  const known = open.find(([real]) => around.remembered?.get(`${key} ${real}`)?.has(packet.source));
  if (known && isSticky(server)) return [{ real: known[0], share: 1 }];
  const weights = open.map(([real, weight]) => ({ real, weight: server.scheduler === "rr" ? 1 : weight }));
  const total = weights.reduce((sum, { weight }) => sum + weight, 0);
  return weights.map(({ real, weight }) => ({ real, share: weight / total }));
}

/** Its second time in OUTPUT, where nat asks for the route again. */
function sentOn(kernel: Kernel, at: At): readonly Outcome[] {
  const passed = through(kernel, at, ["mangle", "OUTPUT"], ["filter", "OUTPUT"]);
  if (typeof passed === "string") return ended(passed);
  const strays = at.out === "elsewhere" && isRoutedHere(kernel, passed, "lo");
  return strays ? ended("DROP") : leaving(kernel, passed);
}

function leaving(kernel: Kernel, at: At): readonly Outcome[] {
  const left = through(kernel, at, ["mangle", "POSTROUTING"], ["nat", "POSTROUTING"]);
  return typeof left === "string" ? ended(left) : delivered(kernel, left);
}

function delivered({ packet, model, rules }: Kernel, at: At): readonly Outcome[] {
  const isVip = (["VIPS", "GUARDED"] as const).some((set) => isInSet(model, setWord(rules.family, set), [at.address]) !== undefined);
  const text = `${at.address.includes(":") ? `[${at.address}]` : at.address}:${at.port}`;
  return [{ to: packet.protocol === "icmp" && isVip ? "ECHO" : text, masqueraded: at.masqueraded, share: 1, remembered: undefined }];
}

function ended(verdict: "REJECT" | "DROP"): readonly Outcome[] {
  return [{ to: verdict, masqueraded: false, share: 1, remembered: undefined }];
}

/** By its address, or by our routing rules, where there are external IPs: `rule add [iif lo] fwmark MARK[/MASK] (goto PRIORITY|lookup TABLE) …`. */
function isRoutedHere(kernel: Kernel, { address, mark }: At, from: "lo" | "elsewhere"): boolean {
  if (isLocal(kernel, address)) return true;
  const sizeOf = (set: "EXTERNAL" | "GUARDED"): number => kernel.model.sets.get(setWord(kernel.rules.family, set))?.size ?? 0;
  if (sizeOf("EXTERNAL") + sizeOf("GUARDED") === 0) return false;
  for (const line of EXTERNAL_LINES) {
    const [, lo, value, mask = "0xffffffff", verb] = /^rule add (iif lo )?fwmark (\w+)(?:\/(\w+))? (goto|lookup) /.exec(line) ?? [];
    const fits = (mark & Number(mask)) >>> 0 === Number(value) && (lo === undefined || from === "lo");
    if (value !== undefined && fits) return verb === "lookup";
  }
  return false;
}

/** Addresses of the host and, by a route, all that VIPS holds. */
function isLocal({ model, rules, around }: Kernel, address: string): boolean {
  return isHostAddress(around, address) || isInSet(model, setWord(rules.family, "VIPS"), [address]) !== undefined;
}

function isHostAddress({ hostIps }: Surroundings, address: string): boolean {
  return hostIps.includes(address) || address.startsWith("127.") || address === "::1";
}

function through(kernel: Kernel, start: At, ...hooks: readonly (readonly [TableName, Hook])[]): At | "REJECT" | "DROP" {
  let at = start;
  for (const [table, hook] of hooks) {
    const jumps = kernel.rules.jumps.filter((jump) => jump.table === table && jump.hook === hook).map(({ rule }) => rule);
    const walked = run(kernel, table, jumps, at);
    if (walked.verdict === "REJECT" || walked.verdict === "DROP") return walked.verdict;
    at = walked.at;
  }
  return at;
}

interface Walked {
  readonly verdict: Verdict;
  readonly at: At;
}

function run(kernel: Kernel, table: TableName, rules: readonly string[], start: At): Walked {
  let at = start;
  for (const rule of rules) {
    const { target, options } = parse(rule);
    if (!options.every((option) => holds(kernel, option, at) !== option.negated)) continue;
    if (target === "RETURN") return { verdict: "pass", at };
    if (target === "ACCEPT" || target === "DROP" || target === "REJECT") return { verdict: target, at };
    if (target === "MASQUERADE") return { verdict: "ACCEPT", at: { ...at, masqueraded: true } };
    if (target === "MARK")
      at = { ...at, mark: Number((options.find(({ name }) => name === "--set-xmark")?.values[0] ?? "").split("/")[0]) };
    else if (target === "SET") at = { ...at, mark: mapped(kernel, options, at) ?? at.mark };
    else if (target !== undefined) {
      const chain = kernel.rules.chains[table].get(target);
      if (!chain) throw new Error(`no chain ${target} in ${table}`);
      const below = run(kernel, table, chain, at);
      if (below.verdict !== "pass") return below;
      at = below.at;
    }
  }
  return { verdict: "pass", at };
}

interface Option {
  readonly name: string;
  readonly values: readonly string[];
  readonly negated: boolean;
}

const VALUES: Readonly<Record<string, number>> = {
  "--match-set": 2,
  "--map-set": 2,
  "--ipvs": 0,
  "--rcheck": 0,
  "--rsource": 0,
  "--map-mark": 0,
};

function parse(rule: string): { target: string | undefined; options: readonly Option[] } {
  const words = rule.split(" ");
  const options: Option[] = [];
  while (words.length > 0) {
    const negated = words[0] === "!";
    if (negated) words.shift();
    const name = words.shift() ?? "";
    if (!name.startsWith("-")) throw new Error(`the tracer does not understand ${name} in: ${rule}`);
    options.push({ name, negated, values: words.splice(0, VALUES[name] ?? 1) });
  }
  return { target: options.find(({ name }) => name === "-j")?.values[0], options };
}

const NEUTRAL = new Set([
  "-m",
  "-j",
  "--comment",
  "--name",
  "--mask",
  "--rsource",
  "--map-set",
  "--map-mark",
  "--set-xmark",
  "--reject-with",
]);

function holds({ packet, around, model }: Kernel, { name, values, negated }: Option, at: At): boolean {
  const [value = "", direction = ""] = values;
  if (NEUTRAL.has(name)) return !negated;
  switch (name) {
    case "-s":
      return isIn(value, packet.source);
    case "-d":
      return isIn(value, at.address);
    case "-p":
      return value === packet.protocol || (packet.protocol === "icmp" && value === "ipv6-icmp");
    case "--icmp-type":
    case "--icmpv6-type":
      return packet.protocol === "icmp";
    case "-o":
      return value === at.out;
    case "--ctstate":
      return value.split(",").includes("NEW");
    case "--ctdir":
      return value === "ORIGINAL";
    case "--ctorigdst":
      return isIn(value, packet.address);
    case "--mark": {
      const [wanted = 0, mask = 0xffffffff] = value.split("/").map(Number);
      return (at.mark & mask) >>> 0 === wanted;
    }
    case "--ipvs":
      return at.scheduled;
    case "--src-type":
      return isHostAddress(around, packet.source);
    case "--dst-type":
      return isHostAddress(around, at.address);
    case "--match-set":
      return isInSet(model, value, fieldsOf(direction, packet, at)) !== undefined;
    case "--rcheck":
      return false; // nothing is ever put into these lists
    default:
      throw new Error(`the tracer does not know ${name}`);
  }
}

function mapped({ model, packet }: Kernel, options: readonly Option[], at: At): number | undefined {
  const [set = "", direction = ""] = options.find(({ name }) => name === "--map-set")?.values ?? [];
  return isInSet(model, set, fieldsOf(direction, packet, at));
}

/** What an entry of a set is compared with, in the order of its type: address, protocol:port, address. */
function fieldsOf(direction: string, { source, protocol }: Packet, at: At): readonly string[] {
  return direction.split(",").map((which, i) => {
    if (i === 1) return which === "dst" ? `${protocol}:${at.port}` : `${protocol}:0`;
    return which === "dst" ? at.address : source;
  });
}

/** The mark of the entry with the longest prefixes, as the kernel looks for it; undefined = none fits. */
function isInSet({ sets }: IpvsModel, name: string, fields: readonly string[]): number | undefined {
  const entries = sets.get(name);
  if (!entries) throw new Error(`no set ${name}`);
  const exact = entries.get(fields.join(","));
  if (exact !== undefined) return exact;
  let best: { length: number; mark: number } | undefined;
  for (const [entry, mark] of entries) {
    const parts = entry.split(",");
    if (
      !parts.some((part) => part.includes("/")) ||
      !parts.every((part, i) => part === fields[i] || (part.includes("/") && isIn(part, fields[i] ?? "")))
    )
      continue;
    const length = parts.reduce((sum, part) => sum + Number(part.split("/")[1] ?? 0), 0);
    if (!best || length > best.length) best = { length, mark };
  }
  return best?.mark;
}

function isIn(prefix: string, address: string): boolean {
  const cidr = parseCidr(prefix);
  const ip = parseIp(address);
  if (!cidr || !ip) throw new Error(`not a prefix and an address: ${prefix}, ${address}`);
  return contains(cidr, ip);
}
