import { afterAll, beforeAll } from "vitest";
import { isLeftOut, openKubectl, type Kubectl } from "#test/kube/kubectl.ts";
import { startHost, startServer, type TestHost, type TestServer } from "./cli-server.ts";

export interface KubectlFleet {
  readonly server: TestServer;
  readonly host: TestHost;
  readonly kubectl: Kubectl;
}

/** For all tests of a file: a server, the host vm-1 that sends heartbeats, and an unmodified kubectl with these files at hand. Where that is left out, none of them. */
export function kubectlFleet(files: () => Readonly<Record<string, string>>): KubectlFleet {
  let opened: KubectlFleet | undefined;
  const fleet = (): KubectlFleet => {
    if (!opened) throw new Error("there is no fleet outside of the tests");
    return opened;
  };
  beforeAll(async () => {
    if (isLeftOut) return;
    const server = await startServer();
    const host = await startHost(server, "vm-1", "192.168.56.11");
    opened = { server, host, kubectl: await openKubectl(server.kubeconfig, files()) };
  });
  afterAll(async () => {
    await opened?.host.stop();
    await opened?.server.close();
    await opened?.kubectl.close();
  });
  return {
    get server() {
      return fleet().server;
    },
    get host() {
      return fleet().host;
    },
    get kubectl() {
      return fleet().kubectl;
    },
  };
}
