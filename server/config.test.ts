import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { AppError } from "#proto/error.ts";
import { readConfig, type Config } from "./config.ts";

function configFile(text: string): string {
  const dir = mkdtempSync(join(tmpdir(), "fairlead-config-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const path = join(dir, "server.yaml");
  writeFileSync(path, text);
  return path;
}

/** An empty file, so that no real one of this machine is read. */
function read(argv: readonly string[], env: Record<string, string> = {}, file = configFile("")): Config {
  const config = readConfig({ argv: ["--config", file, ...argv], env, print: () => undefined });
  if (!config) throw new Error("nothing was configured");
  return config;
}

test("without settings the defaults hold", () => {
  expect(read([])).toEqual({
    listen: { host: "0.0.0.0", port: 7443 },
    dataDir: "/var/lib/fairlead/server",
    advertise: [],
    kubeconfigOut: "/etc/fairlead/admin.yaml",
    logLevel: "info",
    loadBalancerCidrs: [],
    cluster: {
      domain: "cluster.local",
      serviceCidrs: ["10.96.0.0/16"],
      dnsIps: ["10.96.0.10"],
      nodePortRange: { from: 30_000, to: 32_767 },
      heartbeatIntervalMs: 1000,
      nodeTimeoutMs: 5000,
    },
  });
});

test("a flag counts before the environment, that before the file, that before the default", () => {
  const file = configFile("listen: 1.1.1.1:1\nclusterDomain: file.example\nlogLevel: warn\nserviceCidr: [10.1.0.0/16]\n");
  const env = { FAIRLEAD_LISTEN: "2.2.2.2:2", FAIRLEAD_CLUSTER_DOMAIN: "env.example" };
  const config = read(["--listen", "[::1]:3"], env, file);
  expect(config.listen).toEqual({ host: "::1", port: 3 });
  expect(config.cluster).toMatchObject({ domain: "env.example", serviceCidrs: ["10.1.0.0/16"], dnsIps: ["10.1.0.10"] });
  expect(config.logLevel).toBe("warn");
});

test("several domains: the first is the one that all else goes by", () => {
  for (const argv of [
    ["--cluster-domain", "corp.example", "cluster.local"],
    ["--cluster-domain", "corp.example", "--cluster-domain", "cluster.local"],
    ["--cluster-domain", "corp.example,cluster.local,corp.example"],
  ])
    expect(read(argv).cluster).toMatchObject({ domain: "corp.example", moreDomains: ["cluster.local"] });
  expect(read([]).cluster).not.toHaveProperty("moreDomains");
});

test("two ranges: IPv4 comes first, and each has the DNS service's address", () => {
  for (const argv of [
    ["--service-cidr", "fd00:10:96::/112", "10.200.0.0/16"],
    ["--service-cidr", "fd00:10:96::/112", "--service-cidr", "10.200.0.0/16"],
    ["--service-cidr", "fd00:10:96::/112,10.200.0.0/16"],
  ])
    expect(read(argv).cluster).toMatchObject({
      serviceCidrs: ["10.200.0.0/16", "fd00:10:96::/112"],
      dnsIps: ["10.200.0.10", "fd00:10:96::a"],
    });
});

test("ranges for load balancers: none, or one of each family", () => {
  expect(read(["--load-balancer-cidr", "fd00:200::/120", "192.168.56.240/28"]).loadBalancerCidrs).toEqual([
    "192.168.56.240/28",
    "fd00:200::/120",
  ]);
  expect(read([], { FAIRLEAD_LOAD_BALANCER_CIDR: "192.168.56.7/32" }).loadBalancerCidrs).toEqual(["192.168.56.7/32"]);
});

test.for<[argv: string[], said: RegExp]>([
  [["--listen", "7443"], /^--listen: must be host:port.*not "7443"/],
  [["--listen", "0.0.0.0:70000"], /^--listen: must be host:port/],
  [["--service-cidr", "10.96.0.1/16"], /^--service-cidr: 10\.96\.0\.1\/16 is no range/],
  [["--service-cidr", "10.96.0.0/30"], /too small/],
  [["--service-cidr", "0.0.0.0/0"], /too large/],
  [["--service-cidr", "10.1.0.0/16,10.2.0.0/16"], /two IP families/],
  [["--load-balancer-cidr", "192.168.56.1/28"], /^--load-balancer-cidr: 192\.168\.56\.1\/28 is no range/],
  [["--load-balancer-cidr", "169.254.1.0/24"], /may not overlap the link-local range/],
  [["--load-balancer-cidr", "10.0.0.0/7"], /too large/],
  [["--load-balancer-cidr", "192.0.2.0/25,192.0.2.128/25"], /two IP families/],
  [["--load-balancer-cidr", "10.96.4.0/24"], /^--load-balancer-cidr: 10\.96\.4\.0\/24 overlaps the range of virtual IPs 10\.96\.0\.0\/16/],
  [["--cluster-domain", "Bad_Domain"], /^--cluster-domain: must be of a-z/],
  [["--node-port-range", "30000"], /^--node-port-range: must be two ports/],
  [["--node-port-range", "32767-30000"], /^--node-port-range: must be two ports/],
  [["--node-timeout", "5"], /^--node-timeout: must be a duration like 5s/],
  [["--node-timeout", "1500ms"], /^--node-timeout: must be at least twice the heartbeat interval \(1000 ms\)/],
  [["--heartbeat-interval", "1ms"], /^--heartbeat-interval: must be 50 ms at least/],
  [["--advertise", "a b"], /^--advertise: must be a name or an address/],
  [["--log-level", "loud"], /^--log-level: /],
  [["--lissten", "x"], /unknown option '--lissten'/],
  [["extra"], /too many arguments/],
])("%j is refused with the flag's name", ([argv, said]) => {
  expect(() => read(argv)).toThrow(
    expect.objectContaining({ name: "AppError", code: "Usage", message: expect.stringMatching(said) as string }),
  );
});

test("a fault in the environment or in the file is named as such", () => {
  expect(() => read([], { FAIRLEAD_NODE_TIMEOUT: "soon" })).toThrow(/^FAIRLEAD_NODE_TIMEOUT: must be a duration/);
  const file = configFile("nodeTimeout: soon\n");
  expect(() => read([], {}, file)).toThrow(`nodeTimeout in ${file}: must be a duration`);
  expect(() => read([], {}, configFile("nodeTimeuot: 5s\n"))).toThrow(/^nodeTimeuot in .* is no setting; there are listen, dataDir/);
  expect(() => read([], {}, configFile("a: [\n"))).toThrow(/is not valid YAML/);
  expect(() => read([], {}, "/nonexistent/server.yaml")).toThrow(AppError);
});

test("--help shows every flag with examples, and configures nothing", () => {
  let text = "";
  expect(readConfig({ argv: ["--help"], env: {}, print: (part) => void (text += part) })).toBeUndefined();
  for (const flag of [
    "--listen",
    "--data-dir",
    "--service-cidr",
    "--load-balancer-cidr",
    "--cluster-domain",
    "--node-port-range",
    "--node-timeout",
  ])
    expect(text).toContain(flag);
  for (const flag of ["--heartbeat-interval", "--advertise", "--kubeconfig-out", "--log-level", "--config", "Examples:"])
    expect(text).toContain(flag);
});
