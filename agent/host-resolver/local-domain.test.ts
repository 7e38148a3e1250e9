import { expect, test } from "vitest";
import { parseStubDomain } from "#agent/dns/stub-domains.ts";
import { localDomainHint, type LocalDomainFacts } from "./local-domain.ts";
import { settingsOf } from "./settings.ts";

const directory: LocalDomainFacts = {
  kind: "file",
  text: "search lab.example AD.Corp.Local.\nnameserver 127.0.0.1\nnameserver 192.0.2.53\n",
  settings: settingsOf({ dnsIps: ["10.96.0.10"], domain: "cluster.local", serviceCidrs: ["10.96.0.0/16"] }),
  stubs: [],
};

test("where all names are asked of us, a search domain below .local is told of, with the server that serves it now", () => {
  for (const kind of ["file", "resolvconf"] as const)
    expect(localDomainHint({ ...directory, kind })).toMatch(
      /names below ad\.corp\.local will be asked of nobody.*--dns-stub local=192\.0\.2\.53$/,
    );
  expect(localDomainHint({ ...directory, text: "domain local\n" })).toMatch(/names below local .*--dns-stub local=ADDRESS$/);
});

test.for<[string, Partial<LocalDomainFacts>]>([
  ["systemd-resolved asks us for our own names only", { kind: "resolved" }],
  ["NetworkManager's dnsmasq, too", { kind: "dnsmasq" }],
  ["another domain", { text: "search lab.example notlocal local.example\nnameserver 192.0.2.53\n" }],
  ["the fleet's own domain", { text: "search default.svc.cluster.local cluster.local\n" }],
  ["a stub domain says of whom", { stubs: [parseStubDomain("corp.local=192.0.2.53")] }],
])("no hint: %s", ([, different]) => {
  expect(localDomainHint({ ...directory, ...different })).toBeUndefined();
});
