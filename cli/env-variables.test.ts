import { expect, test } from "vitest";
import { parseObject } from "#proto/parse.ts";
import type { Service } from "#proto/service.ts";
import { renderVariables, serviceVariables, shellQuoted } from "./env-variables.ts";

const service = (name: string, spec: object): Service =>
  parseObject("Service", { apiVersion: "v1", kind: "Service", metadata: { name }, spec });

test("a service of one port has the variables that a kubelet makes, in its order", () => {
  const redis = service("redis-primary", { clusterIP: "10.0.0.11", ports: [{ port: 6379 }] });
  // The example of the Kubernetes documentation, "Discovering services".
  expect(renderVariables(serviceVariables([redis]), "shell")).toBe(
    "REDIS_PRIMARY_SERVICE_HOST=10.0.0.11\n" +
      "REDIS_PRIMARY_SERVICE_PORT=6379\n" +
      "REDIS_PRIMARY_PORT=tcp://10.0.0.11:6379\n" +
      "REDIS_PRIMARY_PORT_6379_TCP=tcp://10.0.0.11:6379\n" +
      "REDIS_PRIMARY_PORT_6379_TCP_PROTO=tcp\n" +
      "REDIS_PRIMARY_PORT_6379_TCP_PORT=6379\n" +
      "REDIS_PRIMARY_PORT_6379_TCP_ADDR=10.0.0.11\n",
  );
});

test("named ports have a variable each, and the first port is the service's", () => {
  const web = service("web", {
    clusterIP: "10.0.0.12",
    ports: [
      { name: "http-alt", port: 8080 },
      { name: "dns", port: 53, protocol: "UDP" },
    ],
  });
  expect(Object.fromEntries(serviceVariables([web]))).toMatchObject({
    WEB_SERVICE_PORT: "8080",
    WEB_SERVICE_PORT_HTTP_ALT: "8080",
    WEB_SERVICE_PORT_DNS: "53",
    WEB_PORT: "tcp://10.0.0.12:8080",
    WEB_PORT_53_UDP: "udp://10.0.0.12:53",
    WEB_PORT_53_UDP_PROTO: "udp",
  });
});

test("an IPv6 address has brackets in URLs only", () => {
  const web = service("web", { clusterIP: "fd00::10", ports: [{ port: 80 }] });
  expect(Object.fromEntries(serviceVariables([web]))).toMatchObject({ WEB_SERVICE_HOST: "fd00::10", WEB_PORT: "tcp://[fd00::10]:80" });
});

test("services without a virtual IP have no variables", () => {
  const headless = service("db", { clusterIP: "None", ports: [{ port: 1 }] });
  const external = service("ext", { type: "ExternalName", externalName: "example.com" });
  const pending = service("new", { ports: [{ port: 1 }] });
  expect(serviceVariables([headless, external, pending])).toEqual([]);
});

test("a value is one word of a shell, whatever it holds", () => {
  expect(shellQuoted("tcp://[fd00::1]:80")).toBe("'tcp://[fd00::1]:80'");
  expect(shellQuoted("a'; rm -rf /")).toBe(String.raw`'a'\''; rm -rf /'`);
  expect(shellQuoted("")).toBe("''");
});
