// Fills a server, from its own host:  node test/bench/seed.ts --kubeconfig F --services 10000 --real ADDRESS:PORT
// Every Service has a hand-made slice with two endpoints; that of "real" leads to ADDRESS:PORT. Prints { "address": virtual IP of "real" }.
import { parseArgs } from "node:util";
import { createClient } from "#proto/client.ts";
import { connectionOf } from "./server.ts";

const { values } = parseArgs({
  options: {
    kubeconfig: { type: "string", default: "" },
    services: { type: "string", default: "10000" },
    real: { type: "string", default: "" },
  },
});
const WRITERS = 64;
const namespace = "default";
const client = createClient(await connectionOf(values.kubeconfig));

async function add(name: string, addresses: readonly string[], port: number): Promise<string> {
  const service = await client.create(
    "Service",
    { apiVersion: "v1", kind: "Service", metadata: { name }, spec: { ports: [{ name: "http", port: 80 }] } },
    { namespace },
  );
  await client.create(
    "EndpointSlice",
    {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { name: `${name}-1`, labels: { "kubernetes.io/service-name": name } },
      addressType: "IPv4",
      endpoints: addresses.map((address) => ({ addresses: [address] })),
      ports: [{ name: "http", port }],
    },
    { namespace },
  );
  return service.spec.clusterIP ?? "";
}

let next = 0;
await Promise.all(
  Array.from({ length: WRITERS }, async () => {
    for (let i = next++; i < Number(values.services) - 1; i = next++)
      await add(`s${i}`, [`172.29.${(i >> 7) & 255}.${2 * (i & 127)}`, `172.29.${(i >> 7) & 255}.${2 * (i & 127) + 1}`], 8080);
  }),
);
const [address = "", port = ""] = values.real.split(":");
process.stdout.write(`${JSON.stringify({ address: await add("real", [address], Number(port)) })}\n`);
await client.close();
