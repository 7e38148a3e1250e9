import { execa } from "execa";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
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

describe("apply", () => {
  test("creates, leaves alone, and changes what the manifest says", async () => {
    const ns = await namespace();
    expect(await cli(`apply -n ${ns} -f -`, { input: web })).toMatchObject({ exitCode: 0, stdout: "service/web created\n", stderr: "" });
    expect(await cli(`apply -n ${ns} -f -`, { input: web })).toMatchObject({ exitCode: 0, stdout: "service/web unchanged\n" });
    const before = await server.client.get("Service", "web", { namespace: ns });
    const changed = web.replace("port: 80\n", "port: 81\n");
    expect(await cli(`apply -n ${ns} -f -`, { input: changed })).toMatchObject({ exitCode: 0, stdout: "service/web configured\n" });
    const after = await server.client.get("Service", "web", { namespace: ns });
    expect(after.spec).toMatchObject({ clusterIP: before.spec.clusterIP, ports: [{ name: "http", port: 81, targetPort: 8080 }] });
  });

  test("removes the fields that the manifest no longer has, and keeps those of others", async () => {
    const ns = await namespace();
    const labelled = (labels: string) => web.replace("  name: web", `  name: web\n  labels: { ${labels} }`);
    await cli(`apply -n ${ns} -f -`, { input: labelled("a: x, b: y") });
    await server.client.patch("Service", "web", { metadata: { labels: { theirs: "z" } } }, { namespace: ns });
    await cli(`apply -n ${ns} -f -`, { input: labelled("a: x") });
    expect((await server.client.get("Service", "web", { namespace: ns })).metadata.labels).toEqual({ a: "x", theirs: "z" });
  });

  test("a load balancer keeps what the server gave it, and applying it again changes nothing", async () => {
    const ns = await namespace();
    const balancer = manifest(
      "lb",
      "type: LoadBalancer\nexternalTrafficPolicy: Local\nloadBalancerIP: 198.51.100.7\nloadBalancerSourceRanges: ['192.168.1.5/24 ']\nports: [{ port: 80 }]",
    );
    expect(await cli(`apply -n ${ns} -f -`, { input: balancer })).toMatchObject({ stdout: "service/lb created\n", stderr: "" });
    const made = await server.client.get("Service", "lb", { namespace: ns });
    expect(made.status.loadBalancer.ingress).toEqual([{ ip: "198.51.100.7", ipMode: "VIP" }]);
    expect(await cli(`apply -n ${ns} -f -`, { input: balancer })).toMatchObject({ stdout: "service/lb unchanged\n", stderr: "" });
    expect(await server.client.get("Service", "lb", { namespace: ns })).toEqual(made);
    const { nodePort } = made.spec.ports[0] ?? {};
    expect((await cli(`get svc lb -n ${ns}`)).stdout).toMatch(
      new RegExp(`^lb +LoadBalancer +${made.spec.clusterIP ?? ""} +198\\.51\\.100\\.7 +80:${nodePort ?? ""}/TCP +\\d+s$`, "m"),
    );
    const { stdout } = await cli(`describe svc lb -n ${ns}`);
    expect(stdout).toMatch(/^LoadBalancer Ingress: +198\.51\.100\.7 \(VIP\)$/m);
    expect(stdout).toMatch(new RegExp(`^HealthCheck NodePort: +${made.spec.healthCheckNodePort ?? ""}$`, "m"));
    expect(stdout).toMatch(/^LoadBalancer Source Ranges: +192\.168\.1\.0\/24$/m);
  });

  test("a node port that the server chose stays with its port", async () => {
    const ns = await namespace();
    await cli(`apply -n ${ns} -f -`, { input: manifest("np", "type: NodePort\nports: [{ name: a, port: 80 }]") });
    const before = (await server.client.get("Service", "np", { namespace: ns })).spec.ports[0]?.nodePort;
    expect(before).toBeGreaterThan(0);
    const two = manifest("np", "type: NodePort\nports: [{ name: b, port: 81 }, { name: a, port: 80 }]");
    expect(await cli(`apply -n ${ns} -f -`, { input: two })).toMatchObject({ stdout: "service/np configured\n" });
    expect(await cli(`apply -n ${ns} -f -`, { input: two })).toMatchObject({ stdout: "service/np unchanged\n" });
    const after = (await server.client.get("Service", "np", { namespace: ns })).spec.ports;
    expect(after.find(({ name }) => name === "a")?.nodePort).toBe(before);
  });

  test("takes folders, several files, several documents and Lists, in order", async () => {
    const ns = await namespace();
    const folder = join(server.folder, ns);
    await mkdir(folder);
    await writeFile(join(folder, "2.yml"), `${manifest("b", "ports: [{ port: 1 }]")}---\n${manifest("c", "ports: [{ port: 1 }]")}`);
    await writeFile(
      join(folder, "1.json"),
      JSON.stringify({ apiVersion: "v1", kind: "List", items: [parse(manifest("a", "ports: [{ port: 1 }]"))] }),
    );
    await writeFile(join(folder, "notes.txt"), "no manifest");
    await writeFile(join(server.folder, `${ns}.yaml`), manifest("d", "ports: [{ port: 1 }]"));
    const result = await cli(`apply -n ${ns} -f ${folder} -f ${folder}.yaml`);
    expect(result).toMatchObject({ exitCode: 0, stdout: "service/a created\nservice/b created\nservice/c created\nservice/d created\n" });
  });

  test("a dry run changes nothing, here or at the server", async () => {
    const ns = await namespace();
    expect(await cli(`apply -n ${ns} -f - --dry-run=server`, { input: web })).toMatchObject({
      exitCode: 0,
      stdout: "service/web created (server dry run)\n",
    });
    expect(await cli(`apply -n ${ns} -f - --dry-run=client`, { input: web, kubeconfig: "/nowhere" })).toMatchObject({
      exitCode: 0,
      stdout: "service/web valid (dry run)\n",
    });
    expect((await server.client.list("Service", { namespace: ns })).items).toEqual([]);
  });

  test("one faulty document is named with file, document and line, and the others are applied", async () => {
    const ns = await namespace();
    const file = join(server.folder, "mixed.yaml");
    await writeFile(
      file,
      `${manifest("a", "ports: [{ port: 1 }]")}---\n${manifest("b", "ports:\n  - port: 0")}---\n${manifest("c", "ports: [{ port: 1 }]")}`,
    );
    const result = await cli(`apply -n ${ns} -f ${file}`);
    expect(result).toMatchObject({ exitCode: 6, stdout: "service/a created\nservice/c created\n" });
    expect(result.stderr).toContain(`error: ${file}, document 2: Service "b" is invalid\n  spec.ports[0].port: `);
    expect(result.stderr).toContain("(line 14)");
  });

  test("a namespace in the manifest that is not the one of -n is a mistake", async () => {
    const result = await cli("apply -n default -f -", { input: web.replace("name: web", "name: web\n  namespace: other") });
    expect(result).toMatchObject({ exitCode: 2, stdout: "" });
    expect(result.stderr).toContain('("other") is not the one of -n ("default")');
  });

  test("several writers at once all get through", async () => {
    const ns = await namespace();
    await cli(`apply -n ${ns} -f -`, { input: web });
    const results = await Promise.all(
      [1, 2, 3].map((n) => cli(`apply -n ${ns} -f -`, { input: web.replace("spec:", `  labels: { n: "${n}" }\nspec:`) })),
    );
    expect(results.map(({ exitCode, stderr }) => [exitCode, stderr])).toEqual(Array(3).fill([0, ""]));
  });
});

describe("get", () => {
  test("prints tables, wide ones, names, YAML and JSON", async () => {
    const ns = await namespace();
    await cli(`apply -n ${ns} -f -`, { input: web });
    const ip = (await server.client.get("Service", "web", { namespace: ns })).spec.clusterIP ?? "";
    const line = new RegExp(
      String.raw`^NAME +TYPE +CLUSTER-IP +EXTERNAL-IP +PORT\(S\) +AGE\nweb +ClusterIP +${ip} +<none> +80/TCP +\d+s\n$`,
    );
    expect((await cli(`get services -n ${ns}`)).stdout).toMatch(line);
    expect((await cli(`get svc web -n ${ns} -o wide`)).stdout).toMatch(/SELECTOR\n.* app=web\n$/);
    expect((await cli(`get svc -A`)).stdout).toMatch(new RegExp(`^NAMESPACE +NAME[^]*^${ns} +web`, "m"));
    expect((await cli(`get svc,wl -n ${ns} -o name`)).stdout).toBe("service/web\n");
    expect(parse((await cli(`get svc/web -n ${ns} -o yaml`)).stdout)).toMatchObject({ kind: "Service", metadata: { name: "web" } });
    expect(JSON.parse((await cli(`get svc -n ${ns} -o json`)).stdout)).toMatchObject({ kind: "List", items: [{ kind: "Service" }] });
    expect((await cli(`get svc -n ${ns} --no-headers`)).stdout).toMatch(/^web /);
    expect((await cli(`get svc -n ${ns} -l app=nope`)).stderr).toBe(`No resources found in ${ns} namespace.\n`);
    expect((await cli(`get svc -n ${ns} --field-selector metadata.name=web -o name`)).stdout).toBe("service/web\n");
  });

  test("what is not there is exit code 3, and the rest is shown", async () => {
    const ns = await namespace();
    await cli(`apply -n ${ns} -f -`, { input: web });
    const result = await cli(`get svc web nope -n ${ns} -o name`);
    expect(result).toMatchObject({ exitCode: 3, stdout: "service/web\n", stderr: 'error: services "nope" not found\n' });
    expect(await cli(`get svc nope -n ${ns} --ignore-not-found`)).toMatchObject({ exitCode: 0, stdout: "", stderr: "" });
    expect(await cli(`get svc -n ${ns}-nowhere`)).toMatchObject({ exitCode: 0, stdout: "" });
  });

  test("-w shows what changes, and Ctrl-C ends it with 130", async () => {
    const ns = await namespace();
    await cli(`apply -n ${ns} -f -`, { input: web });
    const watching = cli(`get svc -n ${ns} -w -o name`);
    let text = "";
    for await (const line of watching.iterable()) {
      text += `${line}\n`;
      if (line === "service/web")
        await server.client.create("Service", {
          apiVersion: "v1",
          kind: "Service",
          metadata: { name: "two", namespace: ns },
          spec: { ports: [{ port: 1 }] },
        });
      if (line === "service/two") watching.kill("SIGINT");
    }
    expect(await watching).toMatchObject({ exitCode: 130, stderr: "" });
    expect(text).toBe("service/web\nservice/two\n");
  });

  test("-w goes on after the server was killed and came back", async () => {
    const ns = await namespace();
    await cli(`apply -n ${ns} -f -`, { input: web });
    const watching = cli(`get svc -n ${ns} -w -o name`);
    const seen: string[] = [];
    for await (const line of watching.iterable()) {
      seen.push(line);
      if (line === "service/web" && seen.length === 1) {
        await server.stop();
        await server.start();
        await server.client.create("Service", {
          apiVersion: "v1",
          kind: "Service",
          metadata: { name: "after", namespace: ns },
          spec: { ports: [{ port: 1 }] },
        });
      }
      if (line === "service/after") watching.kill("SIGTERM");
    }
    expect(await watching).toMatchObject({ exitCode: 143 });
    expect(seen).toEqual(["service/web", "service/after"]);
  });

  test("a reader that has enough is no error", async () => {
    const script = '"$0" cli/main.ts get ns -w | head -n 1';
    const env = { FAIRLEAD_KUBECONFIG: server.kubeconfig };
    // The watch learns that nobody reads when it has something to say.
    const piped = execa("bash", ["-o", "pipefail", "-c", script, process.execPath], { reject: false, env });
    const told = setInterval(() => void namespace(), 300);
    const result = await piped;
    clearInterval(told);
    expect(result).toMatchObject({ exitCode: 0, stderr: "" });
    expect(result.stdout).toMatch(/^NAME +STATUS +AGE$/);
  });
});

describe("delete", () => {
  test("by name, by label, by file, and all; what is not there is exit code 3", async () => {
    const ns = await namespace();
    for (const name of ["a", "b", "c", "d"])
      await cli(`apply -n ${ns} -f -`, {
        input: manifest(name, "ports: [{ port: 1 }]").replace("spec:", `  labels: { n: ${name} }\nspec:`),
      });
    expect(await cli(`delete svc a -n ${ns}`)).toMatchObject({ exitCode: 0, stdout: 'service "a" deleted\n' });
    expect(await cli(`delete svc a -n ${ns}`)).toMatchObject({ exitCode: 3, stdout: "" });
    expect(await cli(`delete svc a -n ${ns} --ignore-not-found`)).toMatchObject({ exitCode: 0, stdout: "" });
    expect(await cli(`delete svc -l n=b -n ${ns}`)).toMatchObject({ exitCode: 0, stdout: 'service "b" deleted\n' });
    expect(await cli(`delete -f - -n ${ns} --wait`, { input: manifest("c", "ports: []") })).toMatchObject({
      exitCode: 0,
      stdout: 'service "c" deleted\n',
    });
    expect(await cli(`delete svc --all -n ${ns}`)).toMatchObject({ exitCode: 0, stdout: 'service "d" deleted\n' });
    expect((await server.client.list("Service", { namespace: ns })).items).toEqual([]);
  });
});

describe("token", () => {
  test("create prints the token alone on stdout; list and delete know it by its id", async () => {
    const created = await cli("token create --ttl 1h --uses 3 --description spare");
    expect(created).toMatchObject({ exitCode: 0 });
    expect(created.stdout).toMatch(/^\S+\n$/);
    expect(created.stderr).toContain("--token-file");
    expect(created.stderr).not.toContain(created.stdout.trim());
    const list = await cli("token list");
    const id = /^(\S+) +3 +\d+m(?:\d+s)? +spare$/m.exec(list.stdout)?.[1] ?? "";
    expect(id).not.toBe("");
    expect(list.stdout).not.toContain(created.stdout.trim());
    expect(await cli(`token delete ${id}`)).toMatchObject({ exitCode: 0, stdout: `token "${id}" deleted\n` });
    expect((await cli("token list -o name")).stdout).not.toContain(id);
    expect(await cli(`token delete ${id}`)).toMatchObject({ exitCode: 3 });
  });
});

describe("env and run", () => {
  test("services are variables, also for a program whose exit code and signals are passed", async () => {
    const ns = await namespace();
    await cli(`apply -n ${ns} -f -`, { input: web });
    const ip = (await server.client.get("Service", "web", { namespace: ns })).spec.clusterIP ?? "";
    expect((await cli(`env web -n ${ns}`)).stdout).toMatch(
      new RegExp(`^WEB_SERVICE_HOST=${ip}\nWEB_SERVICE_PORT=80\nWEB_SERVICE_PORT_HTTP=80\nWEB_PORT=tcp://${ip}:80\n`),
    );
    expect(JSON.parse((await cli(`env -n ${ns} --format json`)).stdout)).toMatchObject({ WEB_PORT_80_TCP_ADDR: ip });
    expect(await cli(`env nope -n ${ns}`)).toMatchObject({ exitCode: 3, stdout: "" });
    const run = (script: string) => startCli(server, ["run", "-n", ns, "--", "sh", "-c", script]);
    expect(await run("echo $WEB_SERVICE_HOST:$WEB_SERVICE_PORT; exit 7")).toMatchObject({ exitCode: 7, stdout: `${ip}:80\n` });
    expect(await startCli(server, ["run", "--", "no-such-program"])).toMatchObject({ exitCode: 127 });
    const child = run('trap "echo caught; exit 3" TERM; echo up; while :; do sleep 0.05; done');
    for await (const line of child.iterable()) {
      if (line === "up") child.kill("SIGTERM");
    }
    expect(await child).toMatchObject({ exitCode: 3 });
  });
});

describe("the rest", () => {
  test("status, version, config path, completion and help", async () => {
    expect(await cli("status")).toMatchObject({ exitCode: 0 });
    expect((await cli("status")).stdout).toMatch(/^Server: +https:\/\/127\.0\.0\.1:\d+, version [^]*All (is|hosts are) well\.\n$/);
    expect((await cli("version --server")).stdout).toMatch(/^fairlead \d[^]*\nserver +\d/);
    expect((await cli("--version")).stdout).toMatch(/^fairlead \d/);
    expect((await cli("config path")).stdout).toBe(`${server.kubeconfig}\n`);
    expect((await cli("help exit-codes")).stdout).toContain("  3    not found");
    expect((await cli("__names namespaces")).stdout).toContain("default\n");
    const ns = await namespace();
    await cli(`apply -n ${ns} -f -`, { input: web });
    const script = `source <("$0" cli/main.ts completion bash); fairlead() { "$node" cli/main.ts "$@"; }; COMP_WORDS=(fairlead get svc -n ${ns} w); COMP_CWORD=5; _fairlead; echo "\${COMPREPLY[*]}"`;
    const completed = await execa("bash", ["-c", script, process.execPath], {
      env: { FAIRLEAD_KUBECONFIG: server.kubeconfig, node: process.execPath },
    });
    expect(completed.stdout).toBe("web");
  });
});

describe("expose", () => {
  test("makes services that clients from outside reach, and tells what is wrong with an address", async () => {
    const ns = await namespace();
    const made = async (name: string, options: string): Promise<unknown> => {
      const { exitCode, stderr } = await cli(`expose ${name} -n ${ns} --selector app=web --port 80 ${options}`);
      expect([exitCode, stderr]).toEqual([0, ""]);
      return (await server.client.get("Service", name, { namespace: ns })).spec;
    };
    expect(await made("np", "--node-port 30333")).toMatchObject({ type: "NodePort", ports: [{ port: 80, nodePort: 30_333 }] });
    expect(await made("ext", "--external-ip 198.51.100.21 --session-affinity ClientIP")).toMatchObject({
      type: "ClusterIP",
      externalIPs: ["198.51.100.21"],
      sessionAffinity: "ClientIP",
    });
    const limited = "--load-balancer-ip 198.51.100.22 --source-range 10.0.0.0/8 --external-traffic-policy Local";
    expect(await made("lb", limited)).toMatchObject({
      type: "LoadBalancer",
      loadBalancerIP: "198.51.100.22",
      loadBalancerSourceRanges: ["10.0.0.0/8"],
      externalTrafficPolicy: "Local",
    });
    const taken = await cli(`expose x -n ${ns} --selector app=web --port 80 --external-ip 198.51.100.22`);
    expect(taken.exitCode).toBe(6);
    expect(taken.stderr).toContain(
      `spec.externalIPs[0]: Invalid value: "198.51.100.22": is already the load balancer address of the service ${ns}/lb`,
    );
    const waiting = await cli(`expose waiting -n ${ns} --selector app=web --port 80 --type LoadBalancer`);
    expect(waiting.stderr).toContain("Warning: spec.type LoadBalancer: no address is given out");
    expect((await cli(`get svc waiting -n ${ns}`)).stdout).toContain("<pending>");
  });
});
