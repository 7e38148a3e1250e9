import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { stringify } from "yaml";
import { candidates, findConfig, nodeNameOf, openContext } from "./context.ts";

const pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

function config(change: { cluster?: object; user?: object | null; context?: object; more?: object } = {}): object {
  return {
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      { name: "here", cluster: { server: "https://10.0.0.5:7443", "certificate-authority-data": btoa(pem), ...change.cluster } },
      { name: "there", cluster: { server: "https://10.9.9.9:7443" } },
    ],
    users: [
      { name: "admin", user: change.user === undefined ? { token: "secret" } : change.user },
      { name: "vm-1", user: { token: "node secret" } },
    ],
    contexts: [
      { name: "main", context: { cluster: "here", user: "admin", namespace: "shop", ...change.context } },
      { name: "other", context: { cluster: "there", user: "vm-1" } },
    ],
    "current-context": "main",
    ...change.more,
  };
}

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "fairlead-context-"));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

const open = (content: unknown, context?: string) =>
  openContext({ path: "/x/config", text: typeof content === "string" ? content : stringify(content) }, context);

test("a file says server, CA, credential, namespace and user", async () => {
  expect(await open(config())).toEqual({
    file: "/x/config",
    context: "main",
    server: "https://10.0.0.5:7443",
    namespace: "shop",
    user: "admin",
    ca: pem,
    token: "secret",
  });
});

test("--context takes another one", async () => {
  expect(await open(config(), "other")).toMatchObject({
    server: "https://10.9.9.9:7443",
    user: "vm-1",
    token: "node secret",
    ca: undefined,
  });
});

test("CA and token may be files beside the configuration", async () => {
  const path = await folder();
  await writeFile(join(path, "ca.pem"), pem);
  await writeFile(join(path, "token"), "secret from a file\n");
  const content = config({
    cluster: { "certificate-authority-data": undefined, "certificate-authority": "ca.pem" },
    user: { tokenFile: "token" },
  });
  const context = await openContext({ path: join(path, "config"), text: stringify(content) });
  expect(context).toMatchObject({ ca: pem, token: "secret from a file" });
});

test.for([
  { name: "not YAML", content: "a: [", says: /is not YAML/ },
  { name: "no clusters", content: config({ more: { clusters: [] } }), says: /not a usable kubeconfig/ },
  { name: "a server that is a number", content: config({ cluster: { server: 5 } }), says: /not a usable kubeconfig/ },
  { name: "an unknown context", content: config({ more: { "current-context": "nope" } }), says: /no context "nope"/ },
  { name: "an unknown user", content: config({ context: { user: "bob" } }), says: /no user "bob"/ },
  { name: "switched-off verification", content: config({ cluster: { "insecure-skip-tls-verify": true } }), says: /not supported/ },
  { name: "a client certificate", content: config({ user: { "client-certificate-data": "x" } }), says: /no token/ },
  { name: "a CA that is none", content: config({ cluster: { "certificate-authority-data": "eA==" } }), says: /not a PEM certificate/ },
  { name: "aliases that multiply", content: "a: &a [x]\nb: *a\n", says: /is not YAML/ },
])("a file with $name is refused as Usage", async ({ content, says }) => {
  await expect(open(content)).rejects.toMatchObject({ code: "Usage", message: expect.stringMatching(says) as string });
});

test("the order of places is flag, FAIRLEAD_KUBECONFIG, KUBECONFIG, home, admin, node", () => {
  const paths = (flag: string | undefined, env: Record<string, string>) => candidates(flag, env, "/home/me").map(({ path }) => path);
  expect(paths("/f", { FAIRLEAD_KUBECONFIG: "/a", KUBECONFIG: "/b" })).toEqual(["/f"]);
  expect(paths(undefined, { FAIRLEAD_KUBECONFIG: "/a", KUBECONFIG: "/b" })).toEqual(["/a"]);
  expect(paths(undefined, { KUBECONFIG: "/b" })).toEqual(["/b"]);
  const usual = ["/home/me/.config/fairlead/config", "/etc/fairlead/admin.yaml", "/etc/fairlead/node.yaml"];
  expect(paths(undefined, {})).toEqual(usual);
  expect(paths(undefined, { KUBECONFIG: "/b:/c" })).toEqual(["/b", "/c", ...usual]);
});

test("the first file that is there is taken, and if none is, all that were tried are named", async () => {
  const path = await folder();
  const at = (name: string) => ({ path: join(path, name) });
  await writeFile(join(path, "b"), "text");
  expect(await findConfig([at("a"), at("b"), at("c")])).toEqual({ path: join(path, "b"), text: "text" });
  await expect(findConfig([at("a"), at("c")])).rejects.toMatchObject({
    code: "Usage",
    message: expect.stringContaining(`${path}/a (not there), ${path}/c (not there)`) as string,
    hint: expect.stringContaining("--kubeconfig") as string,
  });
});

test("a file that was asked for must be there", async () => {
  await expect(findConfig([{ path: "/nowhere/config", named: "KUBECONFIG" }])).rejects.toThrow("which KUBECONFIG names: not there");
});

test("a node's credential names the node, others name none", () => {
  expect(["node-vm-1", "node-node-1", "system:node:vm-1", "admin"].map(nodeNameOf)).toEqual(["vm-1", "node-1", "vm-1", undefined]);
});
