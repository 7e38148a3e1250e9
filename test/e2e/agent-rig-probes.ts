import type { Host } from "../fleet/fleet.ts";

// What the agent says of itself, and a way to make its tools fail.

export interface Probe {
  readonly status: number;
  readonly body: string;
}

export async function probe(host: Host, path: string, at = "127.0.0.1:10256"): Promise<Probe> {
  const { stdout } = await host.run("curl", ["-s", "-m", "3", "-w", "\n%{http_code}", `http://${at}${path}`], { reject: false });
  const end = stdout.lastIndexOf("\n");
  return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
}

export interface FaultyTools {
  /** For the agent's environment. */
  readonly path: string;
  /** From now on these end with 4 and a word; undefined = they work again. */
  fail(pattern: string | undefined): Promise<void>;
}

// A folder before the others in PATH: tools that read all their input, and then fail if they are told to. What a probe tries with them works.
export async function faultyTools(host: Host, tools: readonly string[]): Promise<FaultyTools> {
  const folder = "/run/faulty";
  const file = `${folder}/pattern`;
  await host.run("mkdir", ["-p", folder]);
  for (const tool of tools) {
    const script = `#!/bin/sh
input=$(cat)
case "$input" in *PROBE*) tried=yes ;; esac
if [ -e ${file} ] && [ -z "$tried" ] && printf '%s' "\${0##*/} $*" | grep -qE "$(cat ${file})"; then echo "${tool}: broken for a test" >&2; exit 4; fi
printf '%s\\n' "$input" | exec /usr/sbin/${tool} "$@"
`;
    await host.run("sh", ["-c", `cat > ${folder}/${tool}; chmod +x ${folder}/${tool}`], { input: script });
  }
  const { stdout: path } = await host.run("sh", ["-c", "echo $PATH"]);
  return {
    path: `${folder}:${path}`,
    async fail(pattern) {
      if (pattern === undefined) await host.run("rm", ["-f", file]);
      else await host.run("sh", ["-c", `cat > ${file}.new; mv ${file}.new ${file}`], { input: pattern });
    },
  };
}
