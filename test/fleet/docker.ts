import { execa } from "execa";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "../wait-for.ts";
import { dockerPlace } from "./addresses.ts";
import { type Host, startHost } from "./host.ts";
import { standingOf, stateFolder } from "./teardown.ts";

// A real Docker daemon inside a host of a fleet: its bridges, rules and containers are that host's, and two daemons are two Docker hosts.

export interface DockerOptions {
  daemonArgs?: readonly string[];
  // As it is before the daemon starts. Where forwarding is off, Docker turns it on and gives FORWARD the policy DROP; where it is on, it leaves both.
  forwarding?: "on" | "off";
}

export interface Docker extends AsyncDisposable {
  readonly socketPath: string;
  // The daemon is ended, and with it its containers, and started again.
  restart(): Promise<void>;
  cli(...args: readonly string[]): Promise<string>; // what it prints
  // A container that does nothing by itself; programs are run in it as on any machine of the fleet.
  runContainer(name: string, options?: ContainerOptions): Promise<Container>;
}

export interface ContainerOptions {
  publish?: string; // 18080:8080
  network?: string; // docker network create NAME
  flags?: readonly string[]; // of docker run
}

export interface Container extends Host {
  readonly port: string; // the host's end of its cable: a port of the bridge
}

const IMAGE = "fairlead-test";
const FOLDER = "fairlead-docker-";

export async function startDocker(
  fleet: { readonly name: string },
  host: Host,
  { daemonArgs = [], forwarding = "off" }: DockerOptions = {},
): Promise<Docker> {
  await removeOrphanedFolders();
  const folder = await mkdtemp(join(tmpdir(), `${FOLDER}${fleet.name}-`)); // on a disk: Docker's overlays cannot lie on the host's, which are one themselves
  const socketPath = `${folder}/sock`;
  const socket = `unix://${socketPath}`;
  const cli = async (...args: readonly string[]): Promise<string> =>
    (await host.run("docker", ["--host", socket, ...args], { timeoutMs: 180_000 })).stdout;
  await host.run("sysctl", ["-qw", `net.ipv4.ip_forward=${forwarding === "on" ? 1 : 0}`]);
  const places = ["--data-root", `${folder}/data`, "--exec-root", `${folder}/exec`, "--pidfile", `${folder}/pid`, "--host", socket];
  // The host's own /sys, which lies over the machine's, has no cgroups.
  const script = 'umount --lazy /sys && exec "$@"';
  const daemon = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script, "sh", "dockerd", ...places, ...daemonArgs];
  const [file = "", ...args] = daemon;
  const start = async () => {
    const program = await host.spawn(file, args);
    await waitFor(async () => (await host.run("docker", ["--host", socket, "version"], { reject: false })).exitCode === 0, {
      what: "the Docker daemon",
      timeoutMs: 30_000,
      intervalMs: 100,
    }).catch(async (cause: unknown) => {
      throw new Error(`dockerd did not start on ${host.name}: ${(await program.output()).slice(-3_000)}`, { cause });
    });
    return program;
  };
  let dockerd = await start();
  try {
    await makeImage(folder, cli);
  } catch (cause) {
    throw new Error(`no image on ${host.name}: ${(await dockerd.output()).slice(-3_000)}`, { cause });
  }
  return {
    cli,
    socketPath,
    async restart() {
      await dockerd.stop({ graceMs: 30_000 });
      dockerd = await start();
    },
    async runContainer(name, { publish, network, flags = [] } = {}) {
      const where = [...(publish === undefined ? [] : ["--publish", publish]), ...(network === undefined ? [] : ["--network", network])];
      // Bounded, should everything that would end it be killed.
      await cli("run", "--pull", "never", "--detach", "--name", name, ...where, ...flags, IMAGE, "/bin/sleep", "900");
      const [pid = "", ip = ""] = (
        await cli("inspect", "--format", "{{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name)
      ).split(" ");
      const netns = `${fleet.name}-${host.name}${name}`; // by this name the fleet's tear-down finds what runs in it
      await execa("ip", ["netns", "attach", netns, pid]);
      const frame = {
        name: `${host.name}${name}`,
        netns,
        place: { ...dockerPlace(1), ip, ip6: "" },
        containers: [],
        logFolder: join(stateFolder, fleet.name),
      };
      const inside = await startHost(frame, "nft");
      // The image has no programs; those that run here in its network resolve as one in the image would.
      const written = (await host.run("cat", [await cli("inspect", "--format", "{{.ResolvConfPath}}", name)])).stdout;
      await inside.run("tee", ["/etc/resolv.conf"], { input: `${written}\n` });
      const peer = /^\d+: eth0@if(\d+):/m.exec((await inside.run("ip", ["-o", "link"])).stdout)?.[1] ?? "";
      const port = new RegExp(String.raw`^${peer}: ([^:@]+)@`, "m").exec((await host.run("ip", ["-o", "link"])).stdout)?.[1] ?? "";
      return { ...inside, port };
    },
    async [Symbol.asyncDispose]() {
      const containers = (await cli("ps", "--all", "--quiet")).split("\n").filter(Boolean);
      if (containers.length > 0) await cli("rm", "--force", ...containers);
      await dockerd.stop({ graceMs: 15_000 });
      await rm(folder, { recursive: true, force: true });
    },
  };
}

// `sleep` of this machine and the libraries that it needs: nothing is fetched from anywhere.
async function makeImage(folder: string, cli: Docker["cli"]): Promise<void> {
  const { stdout } = await execa("ldd", ["/bin/sleep"]);
  const libraries = [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, path = ""]) => path.slice(1));
  const tar = `${folder}/image.tar`;
  await execa("tar", ["--create", "--dereference", "--file", tar, "--directory", "/", "bin/sleep", ...libraries]);
  await cli("import", tar, IMAGE);
}

// Of runs that were killed: their daemons and containers ended with their fleets.
async function removeOrphanedFolders(): Promise<void> {
  for (const entry of await readdir(tmpdir())) {
    const name = new RegExp(`^${FOLDER}([a-z0-9]+)-`).exec(entry)?.[1];
    if (name !== undefined && (await standingOf(name)) === "none") await rm(join(tmpdir(), entry), { recursive: true, force: true });
  }
}
