import { answerQuery } from "./answer.ts";
import { questionFor, recordsOfReply } from "./follow.ts";
import type { Forwarder } from "./forward.ts";
import { FLAG, MIN_UDP_OCTETS, RCODE } from "./protocol.ts";
import type { Rcode } from "./protocol.ts";
import { readQuery } from "./query.ts";
import type { Query } from "./query.ts";
import { writeRefusal, writeReply } from "./reply.ts";
import type { Transport } from "./reply.ts";
import type { AllowedSources } from "./sources.ts";
import type { MessageHandler, OnDrop, Reply } from "./udp.ts";
import type { ZoneView } from "./zone.ts";

/** How many messages came, and what became of them; those that got no answer are told to `drop`. */
export interface ServeCounts {
  queries: number;
  local: number;
  forwarded: number;
  forwardFailed: number;
  refused: number;
}

export interface ServeDeps {
  readonly zone: ZoneView;
  readonly forwarder: Forwarder;
  readonly sources: AllowedSources;
  readonly counts: ServeCounts;
  readonly drop: OnDrop;
}

/** The way of each message: stranger, malformed, ours, or somebody else's. */
export function createMessageHandler({ zone, forwarder, sources, counts, drop }: ServeDeps): MessageHandler {
  const answer = (query: Query, transport: Transport, reply: Reply): void => {
    const outcome = answerQuery(query, zone, Math.random);
    if (outcome.kind === "answer") {
      counts.local++;
      reply(writeReply(query, outcome.answer, transport));
      return;
    }
    counts.forwarded++;
    if (forwarder.isOwn(query.id, query.question, query.key)) {
      reply(failure(query, RCODE.REFUSED));
      return;
    }
    if (outcome.kind === "forward") {
      relay(query, transport, reply);
      return;
    }
    const { message, question } = questionFor(outcome.target, query);
    // Over TCP whatever the client speaks: the upstream's cut is ours to make, after the aliases.
    const taken = forwarder.forward(message, question, "tcp", (found) => {
      const { rcode, records } = found ? recordsOfReply(found, question) : { rcode: RCODE.SERVFAIL, records: [] };
      if (!found) counts.forwardFailed++;
      reply(writeReply(query, { rcode, answers: [...outcome.aliases, ...records], authority: [], additional: [] }, transport, "relayed"));
    });
    if (!taken) overloaded(query, reply);
  };

  const relay = (query: Query, transport: Transport, reply: Reply): void => {
    const taken = forwarder.forward(query.message, query.question, transport, (found) => {
      if (!found) {
        counts.forwardFailed++;
        reply(failure(query, RCODE.SERVFAIL));
        return;
      }
      const limit = transport === "tcp" ? found.length : Math.max(MIN_UDP_OCTETS, query.edns?.udpOctets ?? 0);
      if (found.length > limit) {
        reply(failure(query, RCODE.NOERROR, FLAG.TC));
        return;
      }
      found.writeUInt16BE(query.id, 0);
      reply(found);
    });
    if (!taken) overloaded(query, reply);
  };

  const overloaded = (query: Query, reply: Reply): void => {
    counts.forwardFailed++;
    drop("forward-limit");
    reply(failure(query, RCODE.SERVFAIL));
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
      reply(writeRefusal(reading.refusal));
      return;
    }
    answer(reading.query, from.transport, reply);
  };
}

function failure(query: Query, rcode: Rcode, flag = 0): Buffer {
  const message = writeRefusal({ id: query.id, flags: query.flags, rcode, question: query.question, edns: query.edns });
  message.writeUInt16BE(message.readUInt16BE(2) | flag, 2);
  return message;
}
