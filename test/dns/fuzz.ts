import fc from "fast-check";
import { encodeQuestion } from "#agent/dns/encode-question.ts";

/** Messages that are mostly right: names that exist or nearly do, with options, records and counts; and mutants of them. */

const label = fc.oneof(
  fc.constantFrom(
    "web",
    "db",
    "many",
    "inside",
    "default",
    "svc",
    "pod",
    "cluster",
    "local",
    "_http",
    "_tcp",
    "arpa",
    "in-addr",
    "10",
    "96",
    "1",
  ),
  fc.string({ unit: "binary-ascii", minLength: 1, maxLength: 63 }),
);

export const fuzzBase: fc.Arbitrary<Buffer> = fc
  .record({
    labels: fc.oneof(
      fc.array(label, { maxLength: 12 }),
      fc.constantFrom<string[]>(
        ["web", "default", "svc", "cluster", "local"],
        ["many", "default", "svc", "cluster", "local"],
        ["_http", "_tcp", "db", "default", "svc", "cluster", "local"],
        ["inside", "default", "svc", "cluster", "local"],
        ["1", "1", "96", "10", "in-addr", "arpa"],
      ),
    ),
    type: fc.oneof(fc.constantFrom(1, 2, 5, 6, 12, 16, 28, 33, 65, 251, 252, 255), fc.integer({ min: 0, max: 65_535 })),
    udpOctets: fc.option(fc.integer({ min: 0, max: 65_535 }), { nil: undefined }),
    tail: fc.uint8Array({ maxLength: 40 }),
  })
  .map(({ labels, type, udpOctets, tail }) => {
    const wire = Buffer.concat([
      ...labels.map((text) => Buffer.from(`${String.fromCharCode(text.length)}${text}`, "latin1")),
      Buffer.of(0),
    ]);
    return Buffer.concat([encodeQuestion({ name: wire, type, id: 1, ...(udpOctets !== undefined && { udpOctets }) }), tail]);
  });

/** The base itself, and what becomes of it by changing octets, cutting, and repeating parts; by a generator of its own, since fast-check's would take longer than the test. */
export function* mutantsOf(base: Buffer, seed: number, count: number): Generator<Buffer> {
  let state = seed | 1;
  const random = (below: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  yield base;
  for (let i = 1; i < count; i++) {
    const mutant = Buffer.from(base);
    for (let edits = random(4); edits >= 0; edits--) mutant[random(mutant.length)] = random(4) === 0 ? 0xc0 | random(64) : random(256);
    const way = random(8);
    if (way === 0) yield mutant.subarray(0, random(mutant.length + 1));
    else if (way === 1) yield Buffer.concat([mutant, base.subarray(random(base.length))]);
    else yield mutant;
  }
}
