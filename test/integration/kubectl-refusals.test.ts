import { expect, test } from "vitest";
import { isLeftOut, type Row } from "#test/kube/kubectl.ts";
import { kubectlFleet } from "./kubectl-fleet.ts";

/** What a cluster that runs containers could do: kubectl is refused, with what to do instead, whichever way it asks. */

const fleet = kubectlFleet(() => ({ "web.yaml": WEB }));

const WEB = `apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ port: 80 }] }
---
apiVersion: fairlead.dev/v1
kind: Workload
metadata: { name: web-1, labels: { app: web } }
spec: { node: vm-1, ports: [{ port: 8080 }] }
---
apiVersion: v1
kind: Event
metadata: { name: told, namespace: default }
involvedObject: { kind: Service, name: web }
`;

const log = /Fairlead runs no containers[^]*read the log of web-1 on its host vm-1 \(journalctl, docker logs\)$/;
const exec = /Fairlead runs no containers[^]*to run something beside web-1, log in to its host vm-1 \(ssh, docker exec\)$/;
const attach = /Fairlead runs no containers[^]*to attach to web-1, log in to its host vm-1 \(docker attach\)$/;
const forward =
  /Fairlead runs no containers[^]*every host reaches web-1 by its service's name and virtual IP; from elsewhere use a node port/;
const debug = /Fairlead runs no containers[^]*to look into web-1, log in to its host vm-1 \(ssh, docker exec\)$/;
const scale =
  /^Error from server \(BadRequest\): Fairlead runs no containers[^]*nothing can be scaled; start more of the program on your hosts/;

const podsAreRead = /Fairlead runs no containers[^]*Pods are its Workloads, to be read only/;

/** By a Pod, which is what a workload is to kubectl; by the workload; by a service, of which kubectl takes a Pod. */
const which = ["web-1", "pod/web-1", "wl/web-1", "svc/web"];
const scaled = ["svc/web", "wl/web-1", "pod/web-1", "node/vm-1", "ns/default", "event/told", "ep/web", "servicecidr/kubernetes"];
const rows: readonly Row[] = [
  { run: "apply -f web.yaml", out: /created$/ },
  ...which.flatMap((one) => [
    { run: `logs ${one}`, code: 1, out: "", err: log },
    { run: `exec ${one} -- true`, code: 1, out: "", err: exec },
    { run: `attach ${one}`, code: 1, out: "", err: attach },
    { run: `port-forward ${one} 8080:80`, code: 1, out: "", err: forward },
  ]),
  { run: "logs -l app=web", code: 1, err: log },
  { run: "run new --image=nginx", code: 1, out: "", err: podsAreRead },
  { run: "delete pod web-1", code: 1, out: "", err: podsAreRead },
  { run: "label pod web-1 a=b", code: 1, out: "", err: podsAreRead },
  { run: "cp web-1:/etc/hostname there", code: 1, err: exec },
  { run: "cp web.yaml web-1:/there", code: 1, err: exec },
  { run: "debug web-1 --image=x --profile=general", code: 1, err: debug },
  { run: "run web-2 --image=x", code: 1, err: /\(MethodNotAllowed\)/ },
  ...scaled.map((one) => ({ run: `scale --replicas=3 ${one}`, code: 1, out: "", err: scale })),
  { run: "scale --replicas=3 svc/nope", code: 1, err: /services "nope" not found/ },
  // The same Workload is read by all else.
  { run: "get wl web-1 -o name", out: "workload.fairlead.dev/web-1" },
];

test.skipIf(isLeftOut)("logs, exec, attach, port-forward, cp, debug and scale say what to do instead", { timeout: 90_000 }, async () => {
  expect(await fleet.kubectl.wrongOf(rows)).toEqual([]);
});
