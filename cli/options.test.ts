import { expect, test } from "vitest";
import { checkOption, durationOption, labelOptions, portOption, wholeOption } from "./options.ts";

test("ports are numbers with an optional name and protocol", () => {
  expect(portOption("8080")).toEqual({ port: 8080, protocol: "TCP" });
  expect(portOption("http=8080")).toEqual({ name: "http", port: 8080, protocol: "TCP" });
  expect(portOption("dns=53/udp")).toEqual({ name: "dns", port: 53, protocol: "UDP" });
  expect(portOption("2905/SCTP")).toEqual({ port: 2905, protocol: "SCTP" });
});

test.for(["0", "65536", "80.5", "-1", "http", "=80", "80/dccp", "a=b=80", "", "80/", "1e3"])("--port %s is refused and named", (text) => {
  expect(() => portOption(text)).toThrow(`--port ${text}`);
});

test("checks name a port, or mean the first", () => {
  const ports = [portOption("dns=53/udp"), portOption("http=8080"), portOption("admin=9000")];
  expect(checkOption("http:/healthz", ports)).toEqual({ http: { port: "http", path: "/healthz" } });
  expect(checkOption("http:9000/a/b?c=d", ports)).toEqual({ http: { port: 9000, path: "/a/b?c=d" } });
  expect(checkOption("http:admin", ports)).toEqual({ http: { port: "admin", path: "/" } });
  expect(checkOption("tcp:admin", ports)).toEqual({ tcp: { port: "admin" } });
  expect(checkOption("tcp:", ports)).toEqual({ tcp: { port: "http" } });
});

test.for(["exec:true", "http", "tcp:80/x", "https:/"])("--check %s is refused and named", (text) => {
  expect(() => checkOption(text, [portOption("80")])).toThrow(`--check ${text}`);
});

test("a check without any port to check is refused", () => {
  expect(() => checkOption("http:/", [])).toThrow("on which port");
});

test("labels are pairs, with commas or repeated, and never twice", () => {
  expect(labelOptions("--label", ["app=web,tier=front", "empty="])).toEqual({ app: "web", tier: "front", empty: "" });
  expect(() => labelOptions("--label", ["app"])).toThrow("--label app");
  expect(() => labelOptions("--label", ["a=1", "a=2"])).toThrow("given twice");
});

test("durations and whole numbers are checked", () => {
  expect(durationOption("--ttl", "1m30s")).toBe(90_000);
  expect(() => durationOption("--ttl", "30")).toThrow("--ttl 30");
  expect(wholeOption("--weight", "0", { min: 0, max: 10 })).toBe(0);
  for (const text of ["11", "-1", "1.5", "x", ""]) expect(() => wholeOption("--weight", text, { min: 0, max: 10 })).toThrow("--weight");
});

test("an exec check is refused with the place where it may stand", () => {
  expect(() => checkOption("exec:/usr/bin/true", [])).toThrow(
    expect.objectContaining({ code: "Usage", hint: expect.stringContaining("/etc/fairlead/workloads.d/") as string }) as Error,
  );
});
