import { answerQuery, followChain } from "./answer.ts";
import type { Outcome } from "./answer.ts";
import type { AnswerCounts } from "./answer-counts.ts";
import { ALIAS_ALONE, questionFor, recordsOfReply } from "./follow.ts";
import type { Followed } from "./follow.ts";
import type { OtherNames } from "./other-names.ts";
import { FLAG, RCODE, RCODE_MASK } from "./protocol.ts";
import { readQuery } from "./query.ts";
import type { Query } from "./query.ts";
import { octetLimit, withExtendedError, writeRefusal, writeReply } from "./reply.ts";
import type { Transport } from "./reply.ts";
import type { AllowedSources } from "./sources.ts";
import type { MessageHandler, OnDrop, Reply } from "./udp.ts";
import type { UntilTold } from "./until-told.ts";
import type { WireCache } from "./wire-cache.ts";
import type { ZoneView } from "./zone.ts";

/** How many messages came, and what became of them; those that got no answer are told to `drop`. */
export interface ServeCounts {
  queries: number;
  local: number;
  forwarded: number;
  refused: number;
}

export interface ServeDeps {
  readonly zone: ZoneView;
  readonly wires: WireCache;
  readonly others: OtherNames;
  readonly sources: AllowedSources;
  readonly counts: ServeCounts;
  readonly answers: AnswerCounts;
  readonly drop: OnDrop;
  readonly untilTold: UntilTold;
}

const REVERSE = "\x04arpa\0";

/** The way of each message: stranger, malformed, ours, or somebody else's. */
export function createMessageHandler({ zone, wires, others, sources, counts, answers, drop, untilTold }: ServeDeps): MessageHandler {
  const answer = (query: Query, transport: Transport, reply: Reply): void => {
    const ready = wires.reply(query, octetLimit(transport, query.edns), zone.version, Math.random());
    if (ready) {
      tellOurs(query, ready, reply);
      return;
    }
    const outcome = answerQuery(query, zone, Math.random);
    if (outcome.kind === "answer") {
      const isUnknown = !zone.synced && outcome.answer.rcode === RCODE.SERVFAIL;
      if (isUnknown && untilTold.hold(() => answer(query, transport, reply))) return;
      const message = writeReply(query, outcome.answer, transport);
      wires.keep(query, outcome.answer, message, zone.version);
      tellOurs(query, message, reply);
      return;
    }
    counts.forwarded++;
    const tell: Reply = (message) => {
      if (message) answers.add(outcome.kind === "follow" ? "cluster" : "other", query.type, rcodeOf(message));
      reply(message);
    };
    if (others.isOwn(query.id, query.question, query.key)) {
      tell(writeRefusal({ id: query.id, flags: query.flags, rcode: RCODE.REFUSED, question: query.question, edns: query.edns }));
      return;
    }
    if (outcome.kind === "forward") others.answer(query, transport, tell);
    else follow(query, outcome, transport, tell);
  };

  const tellOurs = (query: Query, message: Buffer, reply: Reply): void => {
    counts.local++;
    answers.add(query.key.endsWith(REVERSE) ? "reverse" : "cluster", query.type, rcodeOf(message));
    reply(message);
  };

  /** CNAME first, then what the upstream knows of its target. */
  const follow = (query: Query, { aliases, target }: Outcome & { kind: "follow" }, transport: Transport, reply: Reply): void => {
    const asked = questionFor(target, query);
    const write = ({ rcode: said, records, authority: soa, openEnd, isCut, ede }: Followed): void => {
      // A chain that leads back to us: of the name that it leads to we know more than the upstream, which may say NXDOMAIN.
      const chain = [...aliases, ...records];
      const back = openEnd === undefined ? undefined : followChain(openEnd, chain, query, zone, Math.random);
      const own = back?.kind === "answer" ? back.answer : undefined;
      const { rcode, answers, authority } = own ?? { rcode: said, answers: chain, authority: soa };
      // AA is about the question's own name (RFC 1035, 4.1.1), and the alias there is ours.
      const message = writeReply(query, { rcode, answers, authority, additional: [] }, transport);
      if (isCut) message.writeUInt16BE(message.readUInt16BE(2) | FLAG.TC, 2);
      reply(own || ede === undefined ? message : withExtendedError(message, ede, query, transport));
    };
    if (asked) others.answer(asked, transport, (found) => write(recordsOfReply(found, asked.question)));
    else write(ALIAS_ALONE);
  };

  return (message, from, reply) => {
    counts.queries++;
    if (!sources.allows(from.address)) {
      drop("stranger");
      reply(undefined);
      return;
    }
    const reading = readQuery(message);
    if (reading.kind === "drop") {
      drop(reading.reason);
      reply(undefined);
      return;
    }
    if (reading.kind === "refuse") {
      counts.refused++;
      answers.add("none", undefined, reading.refusal.rcode);
      reply(writeRefusal(reading.refusal));
      return;
    }
    answer(reading.query, from.transport, reply);
  };
}

function rcodeOf(message: Buffer): number {
  return message.readUInt16BE(2) & RCODE_MASK;
}
