import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isAppError } from "#proto/error.ts";
import { cpuMs } from "#test/cpu-time.ts";
import { parseProtobufBody } from "./body.ts";

const MAGIC = Buffer.from("k8s\0");

test("what `kubectl create service clusterip x --tcp=80:8080` sends is the Service that it means", () => {
  // Go writes empty strings, empty times and zeros, too.
  const labels = field(11, Buffer.concat([text(1, "app"), text(2, "x")]));
  const metadata = field(1, Buffer.concat([text(1, "x"), text(2, ""), text(3, "default"), field(8, Buffer.alloc(0)), labels]));
  const target = field(4, Buffer.concat([number(1, 0), number(2, 8080), text(3, "")]));
  const port = field(1, Buffer.concat([text(1, "80-8080"), text(2, "TCP"), number(3, 80), target, number(5, 0)]));
  const spec = field(2, Buffer.concat([port, field(2, Buffer.concat([text(1, "app"), text(2, "x")])), text(3, ""), text(4, "ClusterIP")]));
  expect(parseProtobufBody(envelope("v1", "Service", Buffer.concat([metadata, spec])))).toEqual({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "x", namespace: "default", labels: { app: "x" } },
    spec: { ports: [{ name: "80-8080", protocol: "TCP", port: 80, targetPort: 8080 }], selector: { app: "x" }, type: "ClusterIP" },
  });
});

test("target ports by name, times and unknown fields", () => {
  const metadata = field(1, Buffer.concat([text(1, "x"), field(8, number(1, 1_767_225_600)), text(99, "later")]));
  const port = field(1, Buffer.concat([number(3, 80), field(4, Buffer.concat([number(1, 1), text(3, "http")]))]));
  expect(parseProtobufBody(envelope("v1", "Service", Buffer.concat([metadata, field(2, port)])))).toMatchObject({
    metadata: { name: "x", creationTimestamp: "2026-01-01T00:00:00.000Z" },
    spec: { ports: [{ port: 80, targetPort: "http" }] },
  });
});

describe("refused", () => {
  const rows: { name: string; body: Buffer; code: "BadRequest" | "UnsupportedMediaType" }[] = [
    { name: "shorter than the magic", body: Buffer.from("x"), code: "BadRequest" },
    { name: "without the magic", body: Buffer.from("{}{}"), code: "BadRequest" },
    {
      name: "an Ingress, which has to come as JSON",
      body: envelope("networking.k8s.io/v1", "Ingress", Buffer.alloc(0)),
      code: "UnsupportedMediaType",
    },
    {
      name: "a name of a property that every object has",
      body: envelope("v1", "__proto__", Buffer.alloc(0)),
      code: "UnsupportedMediaType",
    },
    { name: "a length beyond the end", body: Buffer.concat([MAGIC, Buffer.from([0x0a, 0x7f])]), code: "BadRequest" },
    {
      name: "text that is not UTF-8",
      body: envelope("v1", "Service", field(1, Buffer.concat([Buffer.from([0x0a, 2, 0xc3, 0x28])]))),
      code: "BadRequest",
    },
    { name: "a label called __proto__", body: envelope("v1", "Service", field(1, field(11, text(1, "__proto__")))), code: "BadRequest" },
    { name: "a number where a message belongs", body: envelope("v1", "Service", number(1, 5)), code: "BadRequest" },
    { name: "a group, which nobody writes any more", body: envelope("v1", "Service", Buffer.from([0x0b])), code: "BadRequest" },
  ];
  test.for(rows)("$name", ({ body, code }) => {
    expect(() => parseProtobufBody(body)).toThrow(expect.toSatisfy((error: unknown) => isAppError(error, code)));
  });
});

test("many entries take time in proportion to their number, and too many are refused", () => {
  const entries = (count: number): Buffer =>
    envelope("v1", "Service", field(1, Buffer.concat(Array.from({ length: count }, (_, i) => field(11, text(1, `k${i}`))))));
  const few = entries(2_000);
  const many = entries(40_000);
  parseProtobufBody(few);
  expect(cpuMs(() => parseProtobufBody(many))).toBeLessThan(300); // when lists and maps were copied for each entry, 4,000 took 1.6 s
  expect(() => parseProtobufBody(entries(60_000))).toThrow(expect.toSatisfy((error: unknown) => isAppError(error, "BadRequest")));
});

test("whatever bytes come, the answer is an object or a refusal, and soon", () => {
  const service = envelope("v1", "Service", field(1, Buffer.concat([text(1, "x"), field(11, text(1, "a"))])));
  const mutated = fc.array(fc.tuple(fc.nat(service.length - 1), fc.nat(255)), { maxLength: 6 }).map((changes) => {
    const bytes = Buffer.from(service);
    for (const [at, byte] of changes) bytes[at] = byte;
    return bytes;
  });
  const random = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.concat([MAGIC, bytes]));
  fc.assert(
    fc.property(fc.oneof(mutated, random), (body) => {
      try {
        expect(parseProtobufBody(body)).toBeTypeOf("object");
      } catch (error) {
        expect(isAppError(error, "BadRequest") || isAppError(error, "UnsupportedMediaType")).toBe(true);
      }
    }),
    { numRuns: 5000 },
  );
});

function envelope(apiVersion: string, kind: string, raw: Buffer): Buffer {
  return Buffer.concat([MAGIC, field(1, Buffer.concat([text(1, apiVersion), text(2, kind)])), field(2, raw)]);
}

function field(id: number, bytes: Buffer): Buffer {
  return Buffer.concat([varint(id * 8 + 2), varint(bytes.length), bytes]);
}

function text(id: number, value: string): Buffer {
  return field(id, Buffer.from(value));
}

function number(id: number, value: number): Buffer {
  return Buffer.concat([varint(id * 8), varint(value)]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 128) + 128);
  }
}
