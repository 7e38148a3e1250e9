import fc from "fast-check";
import { expect, test } from "vitest";
import { readLabels } from "./labels.ts";

const read = (more: Record<string, string>) => readLabels({ "fairlead.service": "web", ...more });

test("without fairlead.service a container asks for nothing, whatever else it has", () => {
  expect(readLabels({ "com.docker.compose.service": "web", "fairlead.port": "80" })).toBeUndefined();
});

test("what is left out has its default", () => {
  expect(read({})).toEqual({
    service: "web",
    namespace: "default",
    ports: [],
    weight: 1,
    check: undefined,
    expose: false,
    labels: { app: "web" },
  });
});

test.for([
  ["80", [{ port: 80, protocol: "TCP" }]],
  [
    "http=80,metrics=9100",
    [
      { name: "http", port: 80, protocol: "TCP" },
      { name: "metrics", port: 9100, protocol: "TCP" },
    ],
  ],
  [
    " dns=53/udp , 53 ",
    [
      { name: "dns", port: 53, protocol: "UDP" },
      { port: 53, protocol: "TCP" },
    ],
  ],
] as const)("ports: %s", ([text, ports]) => expect(read({ "fairlead.port": text })?.ports).toEqual(ports));

test.for([
  ["http:/healthz", { kind: "http", path: "/healthz" }],
  ["http", { kind: "http", path: "/" }],
  ["http:8080/healthz?full=1", { kind: "http", port: 8080, path: "/healthz?full=1" }],
  ["http:metrics", { kind: "http", port: "metrics", path: "/" }],
  ["tcp", { kind: "tcp" }],
  ["tcp:5432", { kind: "tcp", port: 5432 }],
] as const)("check: %s", ([text, check]) => expect(read({ "fairlead.check": text })?.check).toEqual(check));

test("Compose's names, and labels of one's own, are labels of the workload", () => {
  const compose = { "com.docker.compose.project": "shop", "com.docker.compose.service": "front" };
  expect(read({ ...compose, "fairlead.labels": "tier=front, example.com/track=canary" })?.labels).toEqual({
    app: "web",
    "app.kubernetes.io/name": "front",
    "app.kubernetes.io/part-of": "shop",
    tier: "front",
    "example.com/track": "canary",
  });
});

test.for([
  { labels: { "fairlead.service": "1web" }, says: "fairlead.service=1web" },
  { labels: { "fairlead.service": "No Such" }, says: "fairlead.service=No Such" },
  { labels: { "fairlead.port": "0" }, says: 'fairlead.port: "0" is no port' },
  { labels: { "fairlead.port": "http=80=90" }, says: "fairlead.port" },
  { labels: { "fairlead.port": "70000" }, says: "fairlead.port" },
  { labels: { "fairlead.namespace": "a.b" }, says: "fairlead.namespace" },
  { labels: { "fairlead.weight": "-1" }, says: "fairlead.weight" },
  { labels: { "fairlead.weight": "65536" }, says: "fairlead.weight" },
  { labels: { "fairlead.check": "exec:rm -rf /" }, says: "fairlead.check" },
  { labels: { "fairlead.expose": "yes" }, says: "fairlead.expose" },
  { labels: { "fairlead.labels": "a b=c" }, says: "fairlead.labels" },
  { labels: { "fairlead.labels": "app=other" }, says: "app is web, as fairlead.service says" },
  { labels: { "fairlead.port": "9".repeat(100_000) }, says: new RegExp(`^fairlead.port: "9{100}…" is no port.{0,200}$`) },
  { labels: { "fairlead.ports": "80" }, says: "there is no label fairlead.ports" },
])("$labels is refused, and the label is named", ({ labels, says }) => {
  expect(() => read(labels)).toThrow(says);
});

test("whatever stands in labels, it is understood or refused in words", () => {
  const names = ["service", "port", "namespace", "weight", "check", "expose", "labels"].map((name) => `fairlead.${name}`);
  fc.assert(
    fc.property(
      fc.dictionary(fc.constantFrom(...names), fc.oneof(fc.string(), fc.constantFrom("80", "http=80", "true", "tcp"))),
      (labels) => {
        try {
          readLabels(labels);
        } catch (error) {
          expect(String(error)).toMatch(/fairlead\.\w+/);
        }
      },
    ),
  );
});
