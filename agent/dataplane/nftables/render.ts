import { formatCidr, overlaps, contains, parseCidr, parseIp, type Cidr } from "#proto/ip.ts";
import type { HostTable } from "#agent/compile/table.ts";
import { cidrWord } from "../iptables/names.ts";
import { spacesOf, type Space } from "./space.ts";
import { TABLE, type NftWords } from "./words.ts";

/** The part of the table that is the same for all services: sets, maps and chains. Pure: the same host gives the same bytes. README.md has the walk. */

/** name → what stands between its braces. */
export type Declarations = ReadonlyMap<string, string>;

export interface FixedChain {
  /** Of a chain that hangs in a hook. */
  readonly hook?: string;
  readonly rules: readonly string[];
}

/** Clients that are remembered at most; one more is served and not remembered. An element takes about 150 bytes of the kernel. */
const MAX_REMEMBERED = 262_144;

export const SCRATCH = 0xf000_0000;

export function setsOf(words: NftWords): Declarations {
  const { address } = words;
  const { vip, node } = spacesOf(words);
  return new Map([
    ["virtual", `type ${address};`],
    ["answering", `type ${address};`],
    ["external", `type ${vip.types};`],
    ["node_ports", `type ${node.types};`],
    ["node_endpoints", `type ${node.types} . ${address} . inet_service;`],
    ["loops", `type ${address} . ${address};`],
    ["local_cidrs", `type ${address}; flags interval;`],
    ["node_addresses", `type ${address}; flags interval;`],
    ["writes", "type mark . mark;"],
  ]);
}

export function mapsOf(words: NftWords): Declarations {
  const { vip, node } = spacesOf(words);
  const verdicts = (names: readonly string[], { types, prefix }: Space): [string, string][] =>
    names.map((name) => [`${prefix}${name}`, `type ${types} : verdict;`]);
  const sticky = ({ prefix, types, typeOf }: Space): [string, string][] => [
    [`${prefix}sticky_slots`, `typeof ${typeOf} . numgen random mod 2 : meta priority;`],
    [`${prefix}sticky_endpoints`, `type ${types} . classid : ${words.address} . inet_service;`],
  ];
  return new Map([
    ...verdicts(["services", "inside_services", "outside_services", "refusals", "ranges", "admitted"], vip),
    ...verdicts(["services", "inside_services", "outside_services", "refusals"], node),
    ["guarded", `type ${words.address} : verdict;`],
    ["slots", "typeof numgen random mod 2 : verdict;"],
    ...sticky(vip),
    ...sticky(node),
  ]);
}

/** Maps that the packets themselves fill: they outlive the agent. */
export function memoriesOf(words: NftWords): Declarations {
  const { vip, node } = spacesOf(words);
  const memory = (typeOf: string, timeout: string): string =>
    `typeof ${typeOf} : meta priority; flags dynamic,timeout; size ${MAX_REMEMBERED}; timeout ${timeout};`;
  return new Map([
    ["affinity", memory(vip.client.typeOf, "3h")],
    ["node_affinity", memory(node.client.typeOf, "3h")],
    ["priorities", memory(words.sender.typeOf, "5s")],
  ]);
}

export interface HostFacts extends Pick<HostTable, "serviceCidrs" | "masqueradeAll" | "nodePortCidrs"> {
  /** nf_conntrack_tcp_be_liberal: TCP out of its window is let through. */
  readonly liberal: boolean;
}

export function chainsOf(words: NftWords, host: HostFacts): ReadonlyMap<string, FixedChain> {
  return new Map([...natChains(words, host), ...masqueradeChains(words, host), ...filterChains(words, host)]);
}

/** Disjoint, of one family. */
export function cidrsOf(words: NftWords, texts: readonly string[]): readonly string[] {
  const all = texts.map((text) => parseCidr(cidrWord(text)) as Cidr).filter(({ family }) => family === words.family);
  const widestFirst = all.toSorted((a, b) => a.prefix - b.prefix || (a.base < b.base ? -1 : 1));
  return widestFirst.filter((cidr, i) => !widestFirst.slice(0, i).some((other) => overlaps(other, cidr))).map(formatCidr);
}

export function within(cidrs: readonly string[]): (address: string) => boolean {
  const parsed = cidrs.map(parseCidr).filter((cidr) => cidr !== undefined);
  return (address) => {
    const ip = parsed.length === 0 ? undefined : parseIp(address);
    return ip !== undefined && parsed.some((cidr) => contains(cidr, ip));
  };
}

function natChains(words: NftWords, host: HostFacts): [string, FixedChain][] {
  const { ip } = words;
  const { vip, node } = spacesOf(words);
  const entry = [
    `${vip.place} vmap @services`,
    `${node.place} @node_ports jump node`,
    `${words.echoRequest} ${ip} daddr @answering redirect`,
  ];
  const isHere = [...notNodeAddresses(words, host).map((match) => `${match} return`), "fib daddr type != local return"];
  // Here and not in a filter hook of input, for which each packet to the host would pay (docs/adr/0128).
  const refusing = { vip: `ct state new ${ip} daddr vmap @guarded`, node: `ct state new ${node.place} vmap @node_refusals` };
  const arriving = [...entry, refusing.vip];
  return [
    // Before Docker's (-100): all chains of nat are called at one time, in the order of these numbers.
    ["nat_prerouting", { hook: "type nat hook prerouting priority -110; policy accept;", rules: arriving }],
    ["nat_output", { hook: "type nat hook output priority -110; policy accept;", rules: entry }],
    ["ranged", { rules: [`${vip.place} vmap @ranges`, "drop"] }],
    ["admit", { rules: [`${vip.place} vmap @admitted`, refusing.vip] }],
    ["node", { rules: [...isHere, `${node.place} vmap @node_services`, refusing.node] }],
    ...(["vip", "node"] as const).flatMap((kind): [string, FixedChain][] => splitting(words, kind, refusing[kind])),
  ];
}

/** What policies Local set apart. Nobody comes back from there, so both ends refuse. */
function splitting(words: NftWords, kind: "vip" | "node", refusing: string): [string, FixedChain][] {
  const { ip } = words;
  const { prefix, place } = spacesOf(words)[kind];
  const isInside = ["fib saddr type local", `${ip} saddr @local_cidrs`].map((match) => `${match} goto ${prefix}inside`);
  return [
    [`${prefix}split`, { rules: [...isInside, `${place} vmap @${prefix}outside_services`, refusing] }],
    [`${prefix}inside`, { rules: [`${place} vmap @${prefix}inside_services`, refusing] }],
  ];
}

/** Addresses of the host at which node ports are not. */
function notNodeAddresses(words: NftWords, { serviceCidrs, nodePortCidrs }: HostFacts): readonly string[] {
  const { ip } = words;
  return [
    `${ip} daddr ${words.loopback}`,
    ...cidrsOf(words, serviceCidrs).map((cidr) => `${ip} daddr ${cidr}`),
    `${ip} daddr @virtual`,
    ...(cidrsOf(words, nodePortCidrs).length > 0 ? [`${ip} daddr != @node_addresses`] : []),
  ];
}

function masqueradeChains(words: NftWords, host: HostFacts): [string, FixedChain][] {
  const { ip } = words;
  // Over lo both ends are this host, and nothing is to be decided; the packet's priority is of no use there.
  // The port of the original destination has a type only where the protocol is known.
  const ofProtocol = (protocol: string): [string, FixedChain] => [
    `translated_${protocol}`,
    {
      rules: [
        `meta l4proto ${protocol} ct original ${ip} daddr . meta l4proto . ct original proto-dst @external goto ours`,
        `meta l4proto ${protocol} meta l4proto . ct original proto-dst . ct reply ${ip} saddr . ct reply proto-src @node_endpoints goto ours`,
      ],
    },
  ];
  return [
    [
      "nat_postrouting",
      { hook: "type nat hook postrouting priority 99; policy accept;", rules: ['ct status dnat oifname != "lo" goto translated'] },
    ],
    [
      "translated",
      {
        rules: [
          `ct original ${ip} daddr @virtual goto ours`,
          "meta l4proto vmap { tcp : goto translated_tcp, udp : goto translated_udp, sctp : goto translated_sctp }",
        ],
      },
    ],
    ...["tcp", "udp", "sctp"].map(ofProtocol),
    [
      "ours",
      {
        rules: [
          `meta priority & 0x${SCRATCH.toString(16)} == 0x${SCRATCH.toString(16)} jump restore_priority`,
          ...masqueradeRules(words, host),
        ],
      },
    ],
    ["restore_priority", { rules: [`meta priority set ${words.sender.expression} map @priorities return`, "meta priority set 0"] }],
  ];
}

/** agent/dataplane/README.md has the table and its reasons. */
function masqueradeRules(words: NftWords, { masqueradeAll, serviceCidrs }: HostFacts): readonly string[] {
  const { ip } = words;
  const all = masqueradeAll ? cidrsOf(words, serviceCidrs) : [];
  const masquerade = "masquerade";
  return [
    // Virtual IPs alone: at other addresses of a service policy Local promises its endpoints the client's address.
    ...all.map((cidr) => `ct original ${ip} daddr ${cidr} ${masquerade}`),
    `${ip} saddr @local_cidrs ${ip} daddr @local_cidrs ${masquerade}`,
    `${ip} saddr @local_cidrs return`,
    `fib saddr type local ${masquerade}`,
    `${ip} daddr @local_cidrs return`,
    masquerade,
  ];
}

function filterChains(words: NftWords, host: HostFacts): [string, FixedChain][] {
  const { ip } = words;
  const { vip } = spacesOf(words);
  // Neighbours of IPv6 find each other with untracked packets, also where the host has the address of a service.
  const established = "ct state established,related,untracked accept";
  const unallocated = cidrsOf(words, host.serviceCidrs).map((cidr) => `${ip} daddr ${cidr} goto refuse_cluster`);
  const guarded = `${ip} daddr vmap @guarded`;
  const hook = (name: string): string => `type filter hook ${name} priority -1; policy accept;`; // before others' DROP
  const isInside = (verdict: string): readonly string[] => [`fib saddr type local ${verdict}`, `${ip} saddr @local_cidrs ${verdict}`];
  return [
    [
      "filter_forward",
      {
        hook: hook("forward"),
        rules: [
          "ct state vmap { established : accept, related : accept, untracked : accept, invalid : jump invalid }",
          guarded,
          ...unallocated,
        ],
      },
    ],
    ["filter_output", { hook: hook("output"), rules: [established, guarded, ...unallocated] }],
    ["invalid", { rules: host.liberal ? [] : ["saddr", "daddr"].map((end) => `meta l4proto tcp ${ip} ${end} @local_cidrs drop`) }],
    // The address of the DNS service is in the range and on the host itself.
    ["refuse_cluster", { rules: [`${vip.place} vmap @refusals`, "fib daddr type local accept", "goto refuse"] }],
    ["refuse_virtual", { rules: [`${vip.place} vmap @refusals`, "goto refuse"] }],
    ["refuse_external", { rules: [`${vip.place} vmap @refusals`] }],
    ["refuse", { rules: ["meta l4proto tcp reject with tcp reset", "reject"] }],
    ["drop_outside", { rules: [...isInside("goto refuse"), "drop"] }],
    ["drop_inside", { rules: [...isInside("drop"), "goto refuse"] }],
  ];
}

/** `ip fairlead`, as it stands in every command. */
export function tableWord({ ip }: NftWords): string {
  return `${ip} ${TABLE}`;
}

/** The name of a chain that says how everything of the table is declared: what another layout made is replaced whole. */
export function layoutOf(words: NftWords, digest: (text: string) => string): string {
  const hooks = [...chainsOf(words, ANY_HOST)].map(([chain, { hook }]) => [chain, hook]);
  return `layout_${digest(JSON.stringify([LAYOUT, [...setsOf(words)], [...mapsOf(words)], [...memoriesOf(words)], hooks]))}`;
}

/** To be raised when chains that are made as needed change their meaning. */
const LAYOUT = 1;
const ANY_HOST: HostFacts = { serviceCidrs: [], masqueradeAll: false, nodePortCidrs: [], liberal: false };
