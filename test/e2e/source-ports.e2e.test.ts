import { expect, onTestFinished, test } from "vitest";
import { createFleet } from "#test/fleet/fleet.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "#test/tables.ts";
import { askHttp, driverOn } from "./dataplane-rig.ts";
import { nftablesOn } from "./nftables-rig.ts";

/**
 * A client that opens connections fast has its source ports again soon. Where masquerading gives such a connection another port than the client's, it may
 * be one that the endpoint has in TIME-WAIT from another connection; that one's timestamps run ahead, so the SYN is refused by PAWS (RFC 7323) and the
 * client waits a second. The client's own port is safe: his kernel goes on with the same clock.
 */

const VIP = "10.96.0.10";
const signal = new AbortController().signal;

test.for(["nft", "legacy", "nftables"] as const)(
  "%s: source ports that come again meet no connection that has just ended",
  async (kind) => {
    await using fleet = await createFleet({ hosts: 2 });
    const [a, b] = fleet.hosts;
    await using http = await b.spawn("node", ["test/fleet/http-echo.ts", "--id", "b", "--listen", `${b.ip}:8080`]);
    await http.waitForLine(/^listening/);
    await a.run("sysctl", ["-qw", "net.ipv4.ip_local_port_range=40000 45999"]);
    const { driver } = kind === "nftables" ? nftablesOn(a, "IPv4") : driverOn(a, kind);
    onTestFinished(() => driver.close());
    const web = aCompiled([aFrontend({ backends: [aBackend(b.ip, 8080)] })]);
    await driver.sync(aTable([web], aHostTable({ nodeIps: [a.ip], localCidrs: [] })), signal);
    const { answers, failures } = await askHttp(a, VIP, { requests: 6_000 });
    expect({ answers, failures }).toEqual({ answers: { b: 6_000 }, failures: {} });
    expect(await refusedByPaws(b)).toBe(0);
  },
);

async function refusedByPaws(machine: { run(program: string, args: readonly string[]): Promise<{ stdout: string }> }): Promise<number> {
  const { stdout } = await machine.run("nstat", ["-asz", "TcpExtPAWSTimewait"]);
  const [, count] = /^TcpExtPAWSTimewait\s+(\d+)/m.exec(stdout) ?? [];
  if (count === undefined) throw new Error(`nstat knows no TcpExtPAWSTimewait: ${stdout}`);
  return Number(count);
}
