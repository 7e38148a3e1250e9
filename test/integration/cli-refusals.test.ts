import { execa } from "execa";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startCli, startServer, type CliOptions, type TestServer } from "./cli-server.ts";

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.close());

const cli = (args: string, options?: CliOptions) => startCli(server, args.split(" "), options);

/** Each test works in a namespace of its own. */
let count = 0;
async function namespace(): Promise<string> {
  const name = `t${++count}`;
  await server.client.create("Namespace", { apiVersion: "v1", kind: "Namespace", metadata: { name } });
  return name;
}

const manifest = (name: string, spec: string) =>
  `apiVersion: v1\nkind: Service\nmetadata:\n  name: ${name}\nspec:\n${spec.replaceAll(/^/gm, "  ")}\n`;
const web = manifest("web", "selector: { app: web }\nports:\n  - name: http\n    port: 80\n    targetPort: 8080");

test("another clusterIP is refused in the words of the manifest, and the same one is not", async () => {
  const ns = await namespace();
  const at = (ip: string) => manifest("fixed", `clusterIP: ${ip}\nports: [{ port: 80 }]`);
  expect((await cli(`apply -n ${ns} -f -`, { input: at("10.222.9.1") })).exitCode).toBe(0);
  const refused = await cli(`apply -n ${ns} -f -`, { input: at("10.222.9.2") });
  expect(refused.exitCode).toBe(6);
  expect(refused.stderr).toMatch(
    /spec\.clusterIP: Invalid value: "10\.222\.9\.2": may not be changed once set \(it is 10\.222\.9\.1\).*\(line 6\)/,
  );
  expect(refused.stderr).not.toContain("clusterIPs");
  expect((await cli(`apply -n ${ns} -f -`, { input: at("10.222.9.1") })).stdout).toBe("service/fixed unchanged\n");
});

test("what is kept and not acted on is said at each apply, also when nothing changes", async () => {
  const ns = await namespace();
  const input = manifest("outward", "ports: [{ port: 80, appProtocol: http }]");
  for (const outcome of ["created", "unchanged"])
    expect(await cli(`apply -n ${ns} -f -`, { input })).toMatchObject({
      exitCode: 0,
      stdout: `service/outward ${outcome}\n`,
      stderr: expect.stringMatching(/^Warning: spec\.ports\[0\]\.appProtocol is kept/) as string,
    });
});

test("a namespace that is not there is told with the command that makes it", async () => {
  const { stderr } = await cli("apply -n nope -f -", { input: web });
  const [, make = ""] = /or create it: echo '(.*)' \| fairlead apply -f -\n/.exec(stderr) ?? [];
  expect(await cli("apply -f -", { input: make })).toMatchObject({ exitCode: 0, stdout: "namespace/nope created\n" });
  expect((await cli("apply -n nope -f -", { input: web })).exitCode).toBe(0);
});

test("a word of kubectl that is another one here is answered with that", async () => {
  const { exitCode, stderr } = await cli("create svc");
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(/^error: unknown command 'create'\nhint: here it is: fairlead apply -f FILE\n/);
  expect((await cli("statsu")).stderr).toContain("Did you mean status?");
});

describe("bad input is refused, with the field named, an exit code that says why, and nothing changed", () => {
  const bomb = [
    "a0: &a0 [x,x,x,x,x,x,x,x,x]",
    ...Array.from({ length: 12 }, (_, i) => `a${i + 1}: &a${i + 1} [${Array(9).fill(`*a${i}`).join(",")}]`),
  ];
  const slice = (address: string) =>
    `apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: { name: s }\naddressType: IPv4\nports: [{ port: 80 }]\nendpoints: [{ addresses: ["${address}"] }]`;
  const one = "ports: [{ port: 80 }]";

  test.for([
    { name: "a name with shell metacharacters", input: manifest('"a;reboot"', one), code: 6, says: /metadata\.name: .*a;reboot/ },
    { name: "a name with iptables metacharacters", input: manifest('"a -j ACCEPT"', one), code: 6, says: /metadata\.name/ },
    { name: "a name of 64 characters", input: manifest("a".repeat(64), one), code: 6, says: /metadata\.name/ },
    { name: "a name beyond ASCII", input: manifest("wéb", one), code: 6, says: /metadata\.name/ },
    { name: "a name that climbs", input: manifest('"../../nodes/x"', one), code: 6, says: /metadata\.name/ },
    { name: "port 0", input: manifest("x", "ports: [{ port: 0 }]"), code: 6, says: /spec\.ports\[0\]\.port: .*between 1 and 65535/ },
    {
      name: "port 65536",
      input: manifest("x", "ports: [{ port: 65536 }]"),
      code: 6,
      says: /spec\.ports\[0\]\.port: .*between 1 and 65535/,
    },
    { name: "a port with a fraction", input: manifest("x", "ports: [{ port: 80.5 }]"), code: 6, says: /spec\.ports\[0\]\.port/ },
    {
      name: "two ports of one name",
      input: manifest("x", "ports: [{ name: a, port: 1 }, { name: a, port: 2 }]"),
      code: 6,
      says: /spec\.ports\[1\]\.name: Duplicate/,
    },
    { name: "an endpoint in loopback", input: slice("127.0.0.1"), code: 6, says: /endpoints\[0\]\.addresses\[0\]/ },
    { name: "a link-local endpoint", input: slice("169.254.1.1"), code: 6, says: /endpoints\[0\]\.addresses\[0\]/ },
    { name: "a multicast endpoint", input: slice("224.0.0.1"), code: 6, says: /endpoints\[0\]\.addresses\[0\]/ },
    { name: "an endpoint in the virtual range", input: slice("10.222.3.4"), code: 6, says: /endpoints\[0\]\.addresses\[0\]/ },
    {
      name: "a cluster IP outside of the range",
      input: manifest("x", `clusterIP: 10.1.1.1\n${one}`),
      code: 6,
      says: /spec\.clusterIPs?.*10\.1\.1\.1/,
    },
    { name: "a bomb of anchors", input: bomb.join("\n"), code: 6, says: /stdin.*cannot be expanded/ },
    { name: "more than 1 MiB", input: `# ${"x".repeat(1 << 20)}`, code: 6, says: /stdin is larger than the 1048576 bytes/ },
    {
      name: "an unknown kind",
      input: "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: x }",
      code: 6,
      says: /kind: Unsupported value: "Deployment"[^]*known are/,
    },
    { name: "a key that stands twice", input: `${manifest("x", one)}spec: {}`, code: 6, says: /line 7.*unique/ },
    {
      name: "a namespace that is not there",
      input: manifest("x", one).replace("name: x", "name: x\n  namespace: nowhere"),
      code: 3,
      says: /nowhere/,
    },
  ])("$name", async ({ input, code, says }) => {
    const before = (await server.client.list("Service")).resourceVersion;
    const result = await cli("apply -f -", { input });
    expect(result).toMatchObject({ exitCode: code, stdout: "" });
    expect(result.stderr).toMatch(/^error: /);
    expect(result.stderr).toMatch(says);
    expect((await server.client.list("Service")).resourceVersion).toBe(before);
  });

  test("a cluster IP that is taken", async () => {
    const ns = await namespace();
    await cli(`apply -n ${ns} -f -`, { input: manifest("first", `clusterIP: 10.222.7.7\n${one}`) });
    const result = await cli(`apply -n ${ns} -f -`, { input: manifest("second", `clusterIP: 10.222.7.7\n${one}`) });
    expect(result).toMatchObject({ exitCode: 6, stdout: "" });
    expect(result.stderr).toMatch(/spec\.clusterIPs?.*10\.222\.7\.7/);
  });

  test("a stale resourceVersion", async () => {
    const ns = await namespace();
    await cli(`apply -n ${ns} -f -`, { input: web });
    const result = await cli(`apply -n ${ns} -f -`, {
      input: web.replace("  name: web", '  name: web\n  resourceVersion: "1"').replace("port: 80\n", "port: 82\n"),
    });
    expect(result).toMatchObject({ exitCode: 4, stdout: "" });
    expect(result.stderr).toContain("the object has been modified");
    expect((await server.client.get("Service", "web", { namespace: ns })).spec.ports[0]?.port).toBe(80);
  });

  test("a file over 1 MiB is named with its size", async () => {
    const file = join(server.folder, "large.yaml");
    await writeFile(file, `# ${"x".repeat(1 << 20)}\n`);
    const result = await cli(`apply -f ${file}`);
    expect(result).toMatchObject({ exitCode: 6, stdout: "" });
    expect(result.stderr).toContain(`${file} is larger than the 1048576 bytes that a file of manifests may have (1048579 bytes)`);
  });

  test("a wrong credential, a server with another certificate, and one that is not there", async () => {
    const variant = async (name: string, change: (text: string) => string): Promise<string> => {
      const path = join(server.folder, name);
      await writeFile(path, change(await readFile(server.kubeconfig, "utf8")));
      return path;
    };
    const wrongToken = await variant("token.yaml", (text) => text.replace(server.token, `fla.${"A".repeat(43)}`));
    expect(await cli("get svc", { kubeconfig: wrongToken })).toMatchObject({ exitCode: 5, stdout: "" });
    const other = await execa("openssl", [
      "req",
      "-x509",
      "-newkey",
      "ed25519",
      "-keyout",
      "/dev/null",
      "-nodes",
      "-subj",
      "/CN=other",
      "-days",
      "1",
    ]);
    const otherCa = await variant("ca.yaml", (text) =>
      text.replace(/certificate-authority-data: .*/, `certificate-authority-data: ${Buffer.from(other.stdout).toString("base64")}`),
    );
    const refused = await cli("get svc", { kubeconfig: otherCa });
    expect(refused).toMatchObject({ exitCode: 7, stdout: "" });
    expect(refused.stderr).toContain("certificate that is not the pinned server's");
    const nobody = await variant("nobody.yaml", (text) => text.replace(/server: .*/, "server: https://127.0.0.1:1"));
    const gone = await cli("get svc", { kubeconfig: nobody });
    expect(gone).toMatchObject({ exitCode: 7, stdout: "" });
    expect(gone.stderr).toMatch(/error: cannot reach https:\/\/127\.0\.0\.1:1[^]*hint: /);
    expect(await cli("get svc -w", { kubeconfig: nobody })).toMatchObject({ exitCode: 7, stdout: "" });
  });

  test.for([
    ["get", "pods"],
    ["get", "svc", "-o", "xml"],
    ["get", "svc", "web", "-A"],
    ["bogus"],
    ["delete", "svc"],
    ["delete", "svc", "web", "--all"],
    ["apply"],
    ["apply", "-f", "/nowhere.yaml"],
    ["register", "x", "--port", "0"],
    ["get", "svc", "-n", "Bad_Name"],
    ["drain", "svc/web"],
    ["token", "create", "--uses", "0"],
    ["completion", "powershell"],
  ])("the words %s are a Usage error", async (words) => {
    const result = await startCli(server, words);
    expect(result).toMatchObject({ exitCode: 2, stdout: "" });
    expect(result.stderr).toMatch(/^error: /);
  });

  test("a credential that this user may not read is told as such", async () => {
    // Root reads everything, so the command runs as nobody; elsewhere nobody may read root's password file.
    const asRoot = process.getuid?.() === 0;
    const result = await execa(process.execPath, ["cli/main.ts", "get", "svc"], {
      reject: false,
      env: { FAIRLEAD_KUBECONFIG: asRoot ? server.kubeconfig : "/etc/shadow" },
      ...(asRoot && { uid: 65534, gid: 65534 }),
    });
    expect(result).toMatchObject({ exitCode: 2, stdout: "" });
    expect(result.stderr).toMatch(/permission denied[^]*sudo/);
  });
});
