import { expect, onTestFinished, test } from "vitest";
import { waitFor } from "#test/wait-for.ts";
import { isSameNetwork, type NodeNetwork } from "./network.ts";
import { nodeObjectLoop, type NodeObjectDeps } from "./node-object.ts";

const known: NodeNetwork = {
  addresses: ["192.168.56.11", "10.1.0.11"],
  containerCidrs: ["172.17.0.0/16"],
  localCidrs: ["10.1.0.0/16", "172.17.0.0/16"],
  reserved: [],
};

/** Runs the loop until the test ends. What `patch` is sent is its test's matter. */
function startLoop({ patch, ...rest }: Partial<NodeObjectDeps> & { readonly patch: (body: object) => Promise<void> }): void {
  const ending = new AbortController();
  const deps: NodeObjectDeps = {
    client: {
      patch: async (_kind, _name, body) => {
        await patch(body);
        return undefined as never; // nobody reads the answer
      },
    },
    nodeName: "vm-1",
    hostName: "",
    nodeInfo: { machineID: "m", kernelVersion: "", osImage: "", kubeletVersion: "", kubeProxyVersion: "", architecture: "" },
    look: () => Promise.resolve(known),
    routed: () => [],
    onRefused: () => undefined,
    othersChanged: () => 0,
    glance: () => "",
    known,
    onChange: () => undefined,
    onFailure: () => undefined,
    log: { info: () => undefined, warn: () => undefined },
    ...rest,
  };
  const ended = nodeObjectLoop(deps, ending.signal);
  onTestFinished(async () => {
    ending.abort();
    await ended;
  });
}

/** The loop until the server has been told of what it finds. */
async function changesWhenFound(found: NodeNetwork) {
  const told: unknown[] = [];
  const changes: NodeNetwork[] = [];
  const patch = (body: object): Promise<void> => {
    told.push(body);
    return Promise.reject(new Error("the test needs no answer"));
  };
  startLoop({ patch, look: () => Promise.resolve(found), onChange: (network) => changes.push(network) });
  await waitFor(() => told.length > 0, { what: "the server to be told" });
  return { told, changes };
}

test("addresses in another order are told to the server, and nothing on this host is made anew for them", async () => {
  const { told, changes } = await changesWhenFound({ ...known, addresses: ["10.1.0.11", "192.168.56.11"] });
  expect(told[0]).toMatchObject({ status: { addresses: [{ address: "10.1.0.11" }, { address: "192.168.56.11" }] } });
  expect(changes).toEqual([]);
});

test("another address or bridge is told to all", async () => {
  const found = { ...known, localCidrs: [...known.localCidrs, "172.18.0.0/16"] };
  expect((await changesWhenFound(found)).changes).toEqual([found]);
});

test("a network that appears is looked at within seconds, though all of the host is looked at twice a minute", async () => {
  let found = known;
  const changes: NodeNetwork[] = [];
  let looks = 0;
  startLoop({
    patch: () => Promise.reject(new Error("there is nothing to tell the server")),
    look: () => {
      looks++;
      return Promise.resolve({ ...found, addresses: [] });
    },
    glance: () => JSON.stringify(found.localCidrs),
    known: { ...known, addresses: [] },
    onChange: (network) => changes.push(network),
  });
  await waitFor(() => looks > 0, { what: "the first look" });
  found = { ...known, localCidrs: [...known.localCidrs, "172.18.0.0/16"] };
  await waitFor(() => changes.length === 1, { what: "the new network to be told" });
  expect(changes[0]?.localCidrs).toContain("172.18.0.0/16");
  expect(looks).toBe(2);
});

test("a network that goes while the server is being told is taken back within seconds too", async () => {
  let routed = ["172.29.0.0/16"];
  const told: object[] = [];
  const patch = (body: object): Promise<void> => {
    if (!("status" in body)) told.push(body);
    routed = []; // Docker has no such network any more, and that there is one is on its way to the server
    return Promise.resolve();
  };
  startLoop({ patch, routed: () => routed });
  await waitFor(() => told.length > 1, { what: "the second announcement", timeoutMs: 8000 });
  expect(told).toMatchObject([{ spec: { podCIDRs: ["172.17.0.0/16", "172.29.0.0/16"] } }, { spec: { podCIDRs: ["172.17.0.0/16"] } }]);
});

test("networks are the same whatever their order", () => {
  expect(isSameNetwork(known, { ...known, localCidrs: known.localCidrs.toReversed() })).toBe(true);
  expect(isSameNetwork(known, { ...known, addresses: ["10.1.0.11"] })).toBe(false);
  expect(isSameNetwork(known, { ...known, containerCidrs: ["172.19.0.0/16"] })).toBe(false);
});
