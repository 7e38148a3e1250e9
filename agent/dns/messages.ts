import type { DnsChange } from "#agent/compile/dns-records.ts";
import type { ImagePlace } from "./image.ts";
import type { ListenAddress } from "./listen.ts";
import type { NameKey } from "./name.ts";
import type { DnsStats, ResponderFacts } from "./responder.ts";
import type { Upstream } from "./upstream-udp.ts";

/** What the agent's own thread and a member (the responder in a thread of its own) say to each other. Plain data. */

/** A piece of the zone. The next comes when this one is taken: a member never has more than one waiting, so that nothing comes between it and its clients. */
export interface ZoneChunk {
  readonly changes: readonly DnsChange[];
  /** With this one begins, or ends, everything there is: what is not named in between goes. */
  readonly begins: boolean;
  readonly ends: boolean;
  readonly revision: number;
  readonly synced: boolean;
  /** Seconds since 1970: when the records last changed. */
  readonly serial: number;
}

export interface MemberStart extends ResponderFacts {
  /** Several members share each address. */
  readonly reusePort: boolean;
  /** For tests and benches: the meter wakes the thread 500 times a second. */
  readonly measuresStalls: boolean;
  /** The zone on disk. One member saves it; those that begin before the agent knows its state answer from it. */
  readonly image: (ImagePlace & { readonly restores: boolean; readonly saves: boolean }) | undefined;
  /** Of all members: see Siblings. */
  readonly loopToken: string;
}

/** A probe for loops came to a member that did not send it: one of the others did. */
export interface ProbeBack {
  readonly kind: "probe-back";
  readonly key: NameKey;
}

export type ToMember =
  | { readonly kind: "chunk"; readonly chunk: ZoneChunk }
  | { readonly kind: "sources"; readonly cidrs: readonly string[] }
  | { readonly kind: "upstreams"; readonly upstreams: readonly Upstream[] }
  | ProbeBack
  /** Drain, close, end. */
  | { readonly kind: "stop" };

export type FromMember =
  | { readonly kind: "taken" }
  | ProbeBack
  | { readonly kind: "report"; readonly report: MemberReport }
  | { readonly kind: "log"; readonly level: "info" | "warn"; readonly fields: object; readonly message: string };

/** Each second, which also says that the member's thread is not stuck. */
export interface MemberReport {
  readonly stats: DnsStats;
  readonly problems: readonly string[];
  readonly bound: readonly ListenAddress[];
  /** The longest that its event loop worked without a pause since the last report; 0 where nobody measures (stall-meter.ts). */
  readonly stallMs: number;
}
