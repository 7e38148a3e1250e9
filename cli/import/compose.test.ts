import fc from "fast-check";
import { expect, test } from "vitest";
import { stringify } from "yaml";
import { parseObject } from "#proto/parse.ts";
import { importCompose } from "./compose.ts";

const read = (services: Record<string, object | null>, env: Record<string, string> = {}, namespace?: string) =>
  importCompose(stringify({ services }), { file: "compose.yml", namespace, env });

const SHOP = `
x-common: &common { restart: always }
services:
  web:
    <<: *common
    image: nginx:\${TAG:-stable}
    ports: ["127.0.0.1:\${WEB_PORT:-8080}:80", { target: 443, published: "8443", name: https }]
    deploy: { replicas: 3 }
    healthcheck: { test: [CMD, curl, -f, "http://localhost/"] }
    depends_on: [db]
  db:
    image: postgres
    expose: [5432]
    networks: { back: { aliases: [postgres] } }
    secrets: [password]
    volumes: ["data:/var/lib/postgresql"]
  worker: { image: worker }
secrets: { password: { file: ./password } }
volumes: { data: {} }
`;

test("services, ports, replicas and health checks of a Compose file, and what is left of it", () => {
  const { services, override, notes } = importCompose(SHOP, { file: "compose.yml", namespace: undefined, env: {} });
  expect(services).toEqual([
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "web" },
      spec: {
        selector: { app: "web" },
        ports: [
          { name: "tcp-80", port: 80, targetPort: 80, protocol: "TCP" },
          { name: "https", port: 443, targetPort: 443, protocol: "TCP" },
        ],
      },
    },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "db" },
      spec: { selector: { app: "db" }, ports: [{ port: 5432, targetPort: 5432, protocol: "TCP" }] },
    },
  ]);
  expect(override.services).toEqual({
    web: { labels: { "fairlead.service": "web", "fairlead.port": "80,443" } },
    db: { labels: { "fairlead.service": "db", "fairlead.port": "5432" } },
  });
  expect(notes.map((note) => note.split(" ", 3).join(" "))).toEqual([
    "secrets, volumes of",
    "web: 3 replicas:",
    "web: healthcheck: Docker",
    "web: restart, depends_on:",
    "db: aliases postgres:",
    "db: secrets, volumes:",
    "worker: no ports:",
  ]);
});

test.for([
  { ports: ["80"], wants: ["80/TCP"] },
  { ports: [80], wants: ["80/TCP"] },
  { ports: ["8080:80/udp", "[::1]:53:53/tcp"], wants: ["80/UDP", "53/TCP"] },
  { ports: ["3000-3002:4000-4002"], wants: ["4000/TCP", "4001/TCP", "4002/TCP"] },
  { ports: ["80", "81:80"], wants: ["80/TCP"] },
  { ports: ["${PORT}:81", "${INNER}", "$INNER"], wants: ["81/TCP", "9000/TCP"] },
  { ports: ["${NONE:-${ALSO_NONE:-8080}}", "${NONE-${INNER}:81}", "${PORT:+${INNER:?}}"], wants: ["8080/TCP", "81/TCP", "9000/TCP"] },
  { ports: ["${PORT", "${INNER}"], wants: ["9000/TCP"] },
])("ports $ports", ({ ports, wants }) => {
  const [service] = read({ web: { ports } }, { PORT: "1", INNER: "9000" }).services;
  expect(service?.spec.ports?.map(({ port, protocol }) => `${port}/${protocol ?? ""}`)).toEqual(wants);
});

test.for([
  {
    name: "a variable without a value",
    services: { a: { ports: ["${NONE}:80", 81] } },
    says: "a: port ${NONE}:80: the variable has no value",
  },
  { name: "a port that is none", services: { a: { ports: ["http", 81] } }, says: "a: port http: is not understood" },
  {
    name: "a name that DNS does not take",
    services: { my_App: { ports: [80] } },
    says: "my_App: its name is no DNS label: the service is called my-app",
  },
  { name: "another's network", services: { a: { ports: [80], network_mode: "service:b" } }, says: "network_mode service:b" },
  { name: "what is taken over", services: { a: { ports: [80], extends: { service: "b", file: "b.yml" } } }, says: "extends" },
])("$name is told", ({ services, says }) => {
  expect(read(services).notes.join("\n")).toContain(says);
});

test("a service of the same file is extended, over several steps", () => {
  const { services, notes } = read({
    base: { expose: [80], deploy: { endpoint_mode: "dnsrr" } },
    middle: { extends: "base", ports: ["8443:443"] },
    web: { extends: { service: "middle" }, expose: [9000], deploy: { replicas: 2 } },
  });
  const web = services.find(({ metadata }) => metadata.name === "web");
  expect(web?.spec.ports?.map(({ port }) => port)).toEqual([443, 80, 9000]);
  expect(web?.spec.clusterIP).toBe("None");
  expect(notes.join("\n")).not.toContain("extends");
});

test.for([
  {
    what: "two names that DNS has as one",
    services: { my_app: { ports: [80] }, "my-app": { ports: [80] } },
    says: "my_app and my-app would both be",
  },
  { what: "a service that extends itself", services: { a: { extends: "b" }, b: { extends: "a" } }, says: "a extends b extends a" },
  { what: "a base that is not there", services: { a: { extends: "b" } }, says: "a extends b, which is not in the file" },
])("$what: an error", ({ services, says }) => {
  expect(() => read(services)).toThrow(says);
});

test("DNS round robin is a headless service, and -n is the namespace of all", () => {
  const { services, override } = read({ a: { ports: [80], deploy: { endpoint_mode: "dnsrr" } } }, {}, "shop");
  expect(services[0]).toMatchObject({ metadata: { namespace: "shop" }, spec: { clusterIP: "None" } });
  expect(override.services["a"]?.labels["fairlead.namespace"]).toBe("shop");
});

test.for<readonly [string, string]>([
  ["no YAML", "services: ["],
  ["no Compose file", "kind: Service"],
  ["ports that are no list", "services: { a: { ports: 80 } }"],
])("%s is refused", ([, text]) => {
  expect(() => importCompose(text, { file: "x.yml", namespace: undefined, env: {} })).toThrow(/x\.yml/);
});

test("whatever ports a file names, what is printed is a Service that the server takes", () => {
  const port = fc.oneof(
    fc.nat(70_000),
    fc.string(),
    fc.tuple(fc.nat(70_000), fc.nat(70_000)).map(([a, b]) => `${a}:${b}`),
  );
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.record({ ports: fc.array(port), expose: fc.array(fc.nat(70_000)) })), (services) => {
      const names = Object.keys(services).map((name) => name.toLowerCase().replaceAll(/[^a-z0-9-]+/g, "-"));
      fc.pre(new Set(names).size === names.length); // else an error, as above
      for (const service of read(services).services) expect(() => parseObject("Service", service)).not.toThrow();
    }),
  );
});
