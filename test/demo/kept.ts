import type { Running, Stage } from "./steps.ts";

/** What to do with the hosts that `--keep` left up. */
export function keptText({ fleet }: Pick<Stage, "fleet">, { server, agents }: Running, root: string): string {
  const [h1, , h3] = fleet.hosts;
  const container = h1.containers[0];
  const machines = [...fleet.hosts, ...fleet.hosts.flatMap((host) => host.containers), fleet.out];
  const shells = machines.map(({ name, ip, enter }) => `  ${name.padEnd(5)} ${ip.padEnd(13)} ${enter.join(" ")} bash\n`);
  return `
The hosts stay up: h1 to h3, a container on each, and out, which is none of the fleet. A shell on one of them:
${shells.join("")}
On each of them but out, ${h3.name} and ${container?.name ?? "its container"} for example:
    curl http://web.default.svc.cluster.local
    dig web.default.svc.cluster.local
On h1, where the server runs and the admin's credential is:
    ${root}/fairlead status
    ${root}/fairlead get services,endpointslices -o wide
    ${root}/fairlead describe service web         # web-2 on h2 is dead; see what is said of it
Logs:
  server      ${server.logFile}
${Object.entries(agents)
  .map(([name, agent]) => `  agent ${name}    ${agent.logFile}\n`)
  .join("")}Take them away again:  sudo ${root}/fairlead demo --down
`;
}
