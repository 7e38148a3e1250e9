import { expect, test } from "vitest";
import { parse } from "yaml";
import { renderCompose, renderDaemonJson, renderDaemonLines, renderRunFlags } from "./docker.ts";

const dns = { server: "10.96.0.10", domain: "cluster.local", namespace: "shop", hostSearch: ["lab.example", "cluster.local"] };
const search = ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "lab.example"];

test("the members of daemon.json are those that Docker reads", () => {
  expect(JSON.parse(renderDaemonJson(dns))).toEqual({ dns: ["10.96.0.10"], "dns-search": search, "dns-opts": ["ndots:2"] });
});

test("the two lines that install prints are those members", () => {
  expect(JSON.parse(`{${renderDaemonLines(dns)}}`)).toEqual(JSON.parse(renderDaemonJson(dns)));
  expect(renderDaemonLines(dns).split("\n")).toHaveLength(2);
});

test("the lines for Compose are its own keys", () => {
  expect(parse(renderCompose(dns))).toEqual({ dns: ["10.96.0.10"], dns_search: search, dns_opt: ["ndots:2"] });
});

test("the flags of docker run say the same", () => {
  expect(renderRunFlags(dns)).toBe(
    "--dns 10.96.0.10 --dns-search shop.svc.cluster.local --dns-search svc.cluster.local --dns-search cluster.local --dns-search lab.example --dns-option ndots:2",
  );
});
