import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { waitFor } from "#test/wait-for.ts";
import { openKernelTools } from "./exec.ts";

const tools = openKernelTools();

test("an argument is one argument, whatever it holds", async () => {
  expect((await tools.run("printf", ["%s|", "a b", "$(id)", "; rm"])).stdout).toBe("a b|$(id)|; rm|");
});

test("a failure says the command, its words and the line of the input that it names", async () => {
  const input = "*nat\n-A FL-X -j NOWHERE\nCOMMIT\n";
  const failing = tools.run("sh", ["-c", "cat >/dev/null; echo 'tool: line 2 failed' >&2; exit 4"], { input });
  await expect(failing).rejects.toMatchObject({
    code: "KernelRejected",
    message: expect.stringMatching(/^sh -c .*tool: line 2 failed \[-A FL-X -j NOWHERE\]$/) as string,
  });
});

test("a tool that is not there is named with how to install it", async () => {
  await expect(tools.run("iptables-missing", [])).rejects.toMatchObject({
    message: "iptables-missing is not installed, or not in the PATH",
    hint: "install it: apt-get install iptables",
  });
  expect(await tools.has("iptables-missing")).toBe(false);
});

test("an exit code that is an answer is none of a failure", async () => {
  expect((await tools.run("sh", ["-c", "exit 1"], { accept: [1] })).exitCode).toBe(1);
});

test("a tool that does not end is ended, by its time limit or by the caller", async () => {
  await expect(tools.run("sleep", ["60"], { timeoutMs: 50 })).rejects.toThrow("did not end in time");
  const stop = new AbortController();
  const running = tools.run("sleep", ["60"], { signal: stop.signal });
  stop.abort(new Error("enough"));
  await expect(running).rejects.toThrow("enough");
});

test("a tool on standby gives each input's own answer, and begins again when somebody ended what waited", async () => {
  const standby = tools.standby("sh", ["-c", 'read -r word; echo "$$ $word"; test "$word" != bad']);
  const first = await standby.run("good\n");
  expect(first.stdout).toMatch(/^\d+ good$/);
  await expect(standby.run("bad\n")).rejects.toMatchObject({ code: "KernelRejected" });
  expect((await standby.run("again\n")).stdout).toMatch(/ again$/);
  standby.close();
});

test("what waits on standby is begun before it is needed, survives nobody's input, and is gone when it is closed", async () => {
  const standby = tools.standby("sh", ["-c", "read -r word && echo $word"]);
  await standby.run("first\n");
  const children = () => readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").trim().split(" ").filter(Boolean);
  const [waiting = ""] = await waitFor(() => (children().length > 0 ? children() : undefined), { what: "the next one to be begun" });
  process.kill(Number(waiting), "SIGKILL");
  await waitFor(() => !children().includes(waiting), { what: "it to be gone" });
  expect((await standby.run("second\n")).stdout).toBe("second");
  const [next = ""] = await waitFor(() => (children().length > 0 ? children() : undefined), { what: "the next one" });
  standby.close();
  await waitFor(() => !children().includes(next), { what: "the last one to end" });
});

test("a tool on standby reads what is made for it piece by piece, and a failure names the line", async () => {
  const standby = tools.standby("cat", []);
  onTestFinished(() => standby.close());
  standby.prepare();
  expect((await standby.run(["one\n", "two\nthree\n"])).stdout).toBe("one\ntwo\nthree");
  const failing = tools.standby("sh", ["-c", "cat >&2; echo 'line 3 failed' >&2; exit 1"]);
  onTestFinished(() => failing.close());
  await expect(failing.run(["one\n", "two\nthree\n"])).rejects.toThrow("[three]");
  const deaf = tools.standby("true", []);
  onTestFinished(() => deaf.close());
  expect((await deaf.run(Array.from({ length: 1_000 }, () => "unread\n".repeat(1_000)))).exitCode).toBe(0);
});

test("a tool on standby is ended when its input cannot be made to the end: it does not take what it has for all", async () => {
  const folder = await mkdtemp(join(tmpdir(), "unmade-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const file = join(folder, "all");
  const standby = tools.standby("sh", ["-c", 'read -r first; echo "$first" >"$0.first"; cat >/dev/null; echo all >"$0"', file]);
  onTestFinished(() => standby.close());
  function* broken(): Generator<string> {
    yield "first\n";
    throw new Error("no such word");
  }
  await expect(standby.run(broken())).rejects.toThrow("no such word");
  expect(existsSync(file)).toBe(false);
  await standby.run("first\nsecond\n");
  expect(readFileSync(`${file}.first`, "utf8")).toBe("first\n");
  expect(existsSync(file)).toBe(true);
});

test.for(["run", "standby", "pieces"])(
  "when we are killed while a long text is being written, a tool (%s) gets whole lines of it",
  async (how) => {
    const folder = await mkdtemp(join(tmpdir(), "cut-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const file = join(folder, "got");
    // A tool that reads only when its parent is gone, as one that is busy.
    const slow = ["-c", 'tail -s 0.02 --pid=$PPID -f /dev/null; cat > "$0.part"; mv "$0.part" "$0"', file];
    const program = `
    import { openKernelTools } from "#agent/dataplane/exec.ts";
    const input = "-a -f 5 -r 10.0.0.1:8081 -m -w 1\\n".repeat(100_000);
    const slow = ${JSON.stringify(slow)};
    const tools = openKernelTools();
    const pieces = Array.from({ length: 100 }, () => input.slice(0, input.length / 100));
    void ("${how}" === "run" ? tools.run("sh", slow, { input }) : tools.standby("sh", slow).run("${how}" === "pieces" ? pieces : input));
    for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
    console.log("begun");`;
    const agent = spawn(process.execPath, ["--input-type=module-typescript", "-e", program], { stdio: ["ignore", "pipe", "inherit"] });
    await new Promise((resolve) => agent.stdout.once("data", resolve));
    agent.kill("SIGKILL");
    await waitFor(() => existsSync(file), { what: "what the tool got", timeoutMs: 10_000 });
    const got = readFileSync(file, "utf8");
    expect(got).toMatch(/^-a -f 5 -r 10\.0\.0\.1:8081 -m -w 1\n/);
    expect(got.slice(got.lastIndexOf("\n") + 1)).toBe("");
    expect(got.length).toBeLessThan(3_000_000);
  },
);

test("a tool is given all of a text, whatever its lines are", async () => {
  const input = `${"x".repeat(10_000)}\n${"äöü\n".repeat(20_000)}no newline`;
  expect((await tools.run("cat", [], { input })).stdout).toBe(input);
  const standby = tools.standby("cat", []);
  expect((await standby.run(input)).stdout).toBe(input);
  expect((await standby.run("")).stdout).toBe("");
  standby.close();
  expect((await tools.run("true", [], { input: "unread\n".repeat(1_000_000) })).exitCode).toBe(0);
});

test("a tool that is followed is heard line by line, until it ends or is closed", async () => {
  const lines: string[] = [];
  const ends: string[] = [];
  const told = { onLine: (line: string) => lines.push(line), onEnd: (why: string) => ends.push(why) };
  tools.follow("sh", ["-c", "echo one; echo two >&2; exit 3"], told);
  await waitFor(() => ends.length > 0, { what: "its end" });
  expect(lines.toSorted()).toEqual(["one", "two"]);
  expect(ends).toEqual([expect.stringMatching(/ended with 3$/)]);

  const endless = tools.follow("sh", ["-c", "while :; do echo more; done"], told);
  await waitFor(() => lines.includes("more"), { what: "a line" });
  endless.close();
  const heard = lines.length;
  tools.follow("iptables-missing", [], told);
  await waitFor(() => ends.length > 1, { what: "the one that cannot start" });
  expect(ends[1]).toBe("iptables-missing ended with ENOENT");
  expect(lines).toHaveLength(heard);
});
