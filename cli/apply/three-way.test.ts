import { expect, test } from "vitest";
import { canonical, mergePatch, threeWay, type JsonObject } from "./three-way.ts";

interface Case {
  name: string;
  original?: JsonObject;
  modified: JsonObject;
  current: JsonObject;
  patch: JsonObject;
}

const cases: Case[] = [
  {
    name: "the same manifest again changes nothing, though the server filled in fields",
    original: { spec: { ports: [{ port: 80 }] } },
    modified: { spec: { ports: [{ port: 80 }] } },
    current: { spec: { type: "ClusterIP", clusterIP: "10.96.0.9", ports: [{ port: 80, protocol: "TCP" }] } },
    patch: {},
  },
  {
    name: "a field that the manifest no longer has is removed",
    original: { metadata: { labels: { app: "web", tier: "front" } } },
    modified: { metadata: { labels: { app: "web" } } },
    current: { metadata: { labels: { app: "web", tier: "front", by: "somebody else" } } },
    patch: { metadata: { labels: { tier: null } } },
  },
  {
    name: "a whole map that the manifest no longer has is removed",
    original: { spec: { selector: { app: "web" }, type: "NodePort" } },
    modified: { spec: { type: "NodePort" } },
    current: { spec: { selector: { app: "web" }, type: "NodePort" } },
    patch: { spec: { selector: null } },
  },
  {
    name: "without an earlier manifest nothing is removed",
    modified: { metadata: { labels: { app: "web" } } },
    current: { metadata: { labels: { tier: "front" } } },
    patch: { metadata: { labels: { app: "web" } } },
  },
  {
    name: "the node port that the server chose stays with its port when the ports are reordered",
    original: { spec: { ports: [{ name: "http", port: 80 }] } },
    modified: {
      spec: {
        ports: [
          { name: "https", port: 443 },
          { name: "http", port: 80 },
        ],
      },
    },
    current: { spec: { ports: [{ name: "http", port: 80, protocol: "TCP", nodePort: 30080 }] } },
    patch: {
      spec: {
        ports: [
          { name: "https", port: 443 },
          { name: "http", port: 80, protocol: "TCP", nodePort: 30080 },
        ],
      },
    },
  },
  {
    name: "one number under two protocols is two ports",
    original: {
      spec: {
        ports: [
          { name: "dns", port: 53, protocol: "UDP" },
          { name: "dns-tcp", port: 53 },
        ],
      },
    },
    modified: {
      spec: {
        ports: [
          { name: "dns", port: 53, protocol: "UDP" },
          { name: "dns-tcp", port: 53, targetPort: 5353 },
        ],
      },
    },
    current: {
      spec: {
        ports: [
          { name: "dns", port: 53, protocol: "UDP" },
          { name: "dns-tcp", port: 53, protocol: "TCP" },
        ],
      },
    },
    patch: {
      spec: {
        ports: [
          { name: "dns", port: 53, protocol: "UDP" },
          { name: "dns-tcp", port: 53, protocol: "TCP", targetPort: 5353 },
        ],
      },
    },
  },
  {
    name: "a field removed from an element of a list is removed there",
    original: { spec: { ports: [{ port: 80, targetPort: 8080 }] } },
    modified: { spec: { ports: [{ port: 80 }] } },
    current: { spec: { ports: [{ port: 80, targetPort: 8080, protocol: "TCP" }] } },
    patch: { spec: { ports: [{ port: 80, protocol: "TCP" }] } },
  },
  {
    name: "a check that becomes another one keeps nothing of the former",
    original: { spec: { checks: [{ http: { port: 80 }, interval: "2s" }] } },
    modified: { spec: { checks: [{ tcp: { port: 80 } }] } },
    current: { spec: { checks: [{ http: { port: 80, path: "/" }, interval: "2s", fall: 3 }] } },
    patch: { spec: { checks: [{ tcp: { port: 80 }, fall: 3 }] } },
  },
  {
    name: "a list of plain values is replaced whole",
    original: { spec: { externalIPs: ["192.0.2.1"] } },
    modified: { spec: { externalIPs: ["192.0.2.2"] } },
    current: { spec: { externalIPs: ["192.0.2.1", "192.0.2.9"] } },
    patch: { spec: { externalIPs: ["192.0.2.2"] } },
  },
  {
    name: "what somebody else changed goes back to what the manifest says",
    original: { spec: { sessionAffinity: "None" } },
    modified: { spec: { sessionAffinity: "None" } },
    current: { spec: { sessionAffinity: "ClientIP" } },
    patch: { spec: { sessionAffinity: "None" } },
  },
];

test.for(cases)("$name", ({ original, modified, current, patch }) => {
  expect(mergePatch(current, threeWay(original, modified, current))).toEqual(patch);
});

test("a key named like a method of every object is data like any other", () => {
  const current: JsonObject = { labels: {} };
  const modified: JsonObject = { labels: { constructor: "x", toString: "y" } };
  expect(mergePatch(current, threeWay(undefined, modified, current))).toEqual({ labels: { constructor: "x", toString: "y" } });
});

test("the order of keys does not matter", () => {
  expect(canonical({ b: 1, a: { d: 1, c: [{ f: 1, e: 2 }] } })).toBe('{"a":{"c":[{"e":2,"f":1}],"d":1},"b":1}');
});
