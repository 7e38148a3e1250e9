import { spawnSync } from "node:child_process";
import { execa } from "execa";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** An unmodified kubectl for tests. FAIRLEAD_KUBECTL names another one than the machine's. */

const kubectl = process.env["FAIRLEAD_KUBECTL"] ?? "kubectl";
const isThere = spawnSync(kubectl, ["version", "--client"]).status === 0;
// Debian has no package of it. CI has it, and must: there these tests fail without.
export const isLeftOut = !isThere && process.env["CI"] !== "true";
if (isLeftOut) console.error(`!!! NOT run: tests with kubectl: there is no ${kubectl} (FAIRLEAD_KUBECTL names another one)`);

export interface Kubectl {
  readonly home: string;
  /** Arguments as one would type them. */
  run(args: string, env?: Readonly<Record<string, string>>): ReturnType<typeof runKubectl>;
  /** Goes on until it is ended; what it writes is not kept. */
  follow(args: string): ReturnType<typeof followKubectl>;
  /** Runs the rows one after the other, and gives those that did not come out as they say. */
  wrongOf(rows: readonly Row[]): Promise<unknown[]>;
  close(): Promise<void>;
}

/** With a home of its own, in which the files stand. */
export async function openKubectl(kubeconfig: string, files: Readonly<Record<string, string>> = {}): Promise<Kubectl> {
  const home = await mkdtemp(join(tmpdir(), "fairlead-kubectl-"));
  for (const [name, text] of Object.entries(files)) await writeFile(join(home, name), text);
  const base = { KUBECONFIG: kubeconfig, HOME: home };
  const run: Kubectl["run"] = (args, env = {}) => runKubectl(args, home, { ...base, ...env });
  return {
    home,
    run,
    follow: (args) => followKubectl(args, home, base),
    wrongOf: async (rows) => {
      const wrong: unknown[] = [];
      for (const { run: args, code = 0, out, err, editor = "true" } of rows) {
        const { stdout, stderr, exitCode } = await run(args, { KUBE_EDITOR: editor });
        const isRight = exitCode === code && holds(out, stdout) && (err === undefined || err.test(stderr));
        if (!isRight) wrong.push({ args, exitCode, stdout, stderr, wanted: { code, out: String(out), err: String(err) } });
      }
      return wrong;
    },
    close: () => rm(home, { recursive: true, force: true }),
  };
}

/** One command, and how it has to end. */
export interface Row {
  readonly run: string;
  readonly code?: number;
  /** Of standard output, whole lines in any order of blanks. */
  readonly out?: string | RegExp | ((stdout: string) => boolean);
  readonly err?: RegExp;
  /** Default: one that changes nothing. */
  readonly editor?: string;
}

function runKubectl(args: string, cwd: string, env: Readonly<Record<string, string>>) {
  return execa(kubectl, words(args), { reject: false, cwd, env, timeout: 20_000 });
}

function followKubectl(args: string, cwd: string, env: Readonly<Record<string, string>>) {
  return execa(kubectl, words(args), { reject: false, cwd, env, buffer: false, stdout: "pipe" });
}

/** At spaces, but for what stands in apostrophes. */
function words(args: string): string[] {
  return Array.from(args.matchAll(/'([^']*)'|(\S+)/g), ([, quoted, plain]) => quoted ?? plain ?? "");
}

function holds(wanted: Row["out"], stdout: string): boolean {
  if (wanted === undefined) return true;
  const text = stdout.trim();
  if (typeof wanted === "string") return text === wanted;
  return wanted instanceof RegExp ? wanted.test(text) : wanted(text);
}
