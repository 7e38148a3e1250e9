import { Option } from "commander";
import {
  allNamespacesOption,
  examples,
  fileOption,
  recursiveOption,
  repeated,
  selectorOption,
  timeoutOption,
  waitOption,
  type Tree,
} from "./tree.ts";

/** Commands about any kind of object: kubectl's words with kubectl's meaning. */
export function declareObjects({ program, bind }: Tree): void {
  const get = program
    .command("get")
    .summary("show objects")
    .description(
      "Show objects of one or more kinds, as a table or in full.\nKinds: namespaces (ns), services (svc), endpointslices, workloads (wl), nodes (no), events (ev); `all` is services and workloads.",
    )
    .argument("<kinds>", "kinds with commas between, or KIND/NAME")
    .argument("[names...]", "names; without: all")
    .addOption(allNamespacesOption())
    .addOption(selectorOption())
    .option("--field-selector <fields>", "only objects with these fields: metadata.name=web,spec.type!=ClusterIP")
    .option("-w, --watch", "go on showing what changes")
    .addOption(
      new Option("-o, --output <format>", "form of the output").choices(["table", "wide", "json", "yaml", "name"]).default("table"),
    )
    .option("--no-headers", "leave out the header line of tables")
    .option("--ignore-not-found", "a name that is not there is no error");
  examples(get, [
    "fairlead get services",
    "fairlead get svc,nodes -A",
    "fairlead get endpointslices -l kubernetes.io/service-name=web -o wide",
    "fairlead get workload/web-1 -o yaml",
    "fairlead get workloads -w",
  ]);
  bind(get, async () => (await import("../commands/get.ts")).get);

  const describe = program
    .command("describe")
    .summary("tell about objects at length, with their Events")
    .description(
      "Tell about objects at length: for a service its endpoints and why those that get no connections get none; and what happened to it.",
    )
    .argument("<kind>", "a kind, or KIND/NAME")
    .argument("[names...]", "names; without: all")
    .addOption(selectorOption())
    .addOption(allNamespacesOption());
  examples(describe, ["fairlead describe service web", "fairlead describe node vm-1", "fairlead describe workloads -l app=web"]);
  bind(describe, async () => (await import("../commands/describe.ts")).describe);

  const apply = program
    .command("apply")
    .summary("make objects be as files say")
    .description(
      "Make objects be as manifests say: creates those that are missing, and changes of the others what the manifest names. A field that the\nmanifest had when it was last applied and has no longer is removed. One faulty document does not stop the others.",
    )
    .addOption(fileOption())
    .addOption(recursiveOption())
    .addOption(new Option("--dry-run <where>", "change nothing: check here, or let the server check").choices(["client", "server"]))
    .addOption(waitOption())
    .addOption(timeoutOption());
  examples(apply, [
    "fairlead apply -f service.yaml --wait",
    "fairlead apply -f manifests/ -f more.yaml",
    "cat service.yaml | fairlead apply -f - --dry-run=server",
  ]);
  bind(apply, async () => (await import("../commands/apply.ts")).apply);

  const imports = program
    .command("import")
    .summary("manifests from what others have written")
    .description("Print manifests made of the files of other tools.");
  examples(imports, ["fairlead import compose docker-compose.yml | fairlead apply -f -"]);
  const compose = imports
    .command("compose")
    .summary("services from a Compose file")
    .description(
      "Print a Service for each service of a Compose file that has ports; what could not be carried over is listed on stderr. With\n--print override, print the override file for Compose whose labels make `fairlead agent --docker` find the containers.\nVariables are those of the environment, and of the .env beside the file.",
    )
    .argument("<file>", "the Compose file, or - for stdin")
    .addOption(new Option("--print <what>", "what to print").choices(["services", "override"]).default("services"));
  examples(compose, [
    "fairlead import compose docker-compose.yml | fairlead apply -f -",
    "fairlead import compose docker-compose.yml --print override > docker-compose.override.yml",
  ]);
  bind(compose, async () => (await import("../commands/import-compose.ts")).importComposeFile);

  const remove = program
    .command("delete")
    .summary("delete objects")
    .description(
      "Delete objects by name, by label, all of a kind, or those that files name. A workload drains before it is gone: --wait returns then.",
    )
    .argument("[kinds]", "kinds with commas between, or KIND/NAME")
    .argument("[names...]", "names")
    .addOption(fileOption())
    .addOption(recursiveOption())
    .addOption(selectorOption())
    .option("--all", "all objects of the kinds in the namespace")
    .option("--ignore-not-found", "what is not there is no error")
    .option("--grace-period <seconds>", "how long a workload drains; 0 = not at all")
    .addOption(new Option("--wait", "return when the objects are gone"))
    .addOption(timeoutOption());
  examples(remove, ["fairlead delete service web", "fairlead delete -f service.yaml", "fairlead delete workloads -l app=web --wait"]);
  bind(remove, async () => (await import("../commands/delete.ts")).remove);

  const expose = program
    .command("expose")
    .summary("make a service for workloads")
    .description(
      "Make a Service named NAME. It selects by --selector, or by the labels of the workload given with --workload; without either, of the\nworkload that has the same name.",
    )
    .argument("<name>", "name of the new service")
    .addOption(repeated("--port <[name=]port[/proto]>", "port of the service; may be repeated", "the ports of the workload"))
    .option("--target-port <port>", "number or name of the workload's port, where it is another; with one --port only")
    .option("--selector <labels>", "labels of the workloads: app=web,tier=front")
    .option("--workload <name>", "take the labels of this workload")
    .addOption(
      new Option("--type <type>", "kind of service; default: what the other options ask for, else ClusterIP").choices([
        "ClusterIP",
        "NodePort",
        "LoadBalancer",
      ]),
    )
    .option("--node-port <port>", "port at every host's own addresses; default for the type NodePort: the server chooses")
    .addOption(repeated("--external-ip <address>", "further address, routed to the hosts, at which they answer; may be repeated"))
    .addOption(
      repeated("--load-balancer-ip <address>", "address of the load balancer; twice for two IP families", "one of the server's pool"),
    )
    .addOption(repeated("--source-range <prefix>", "who may connect to the load balancer's address; may be repeated", "everybody"))
    .addOption(
      new Option("--external-traffic-policy <policy>", "Local: hosts lead clients from outside only to workloads of their own").choices([
        "Cluster",
        "Local",
      ]),
    )
    .addOption(new Option("--session-affinity <kind>", "ClientIP: a client stays with its workload").choices(["None", "ClientIP"]))
    .option("--headless", "no virtual IP: the name resolves to the workloads' addresses")
    .addOption(waitOption())
    .addOption(timeoutOption());
  examples(expose, [
    "fairlead expose web --port http=80 --target-port 8080 --selector app=web",
    "fairlead expose web --workload web-1 --port 80 --wait",
    "fairlead expose db --workload db-1 --headless",
    "fairlead expose web --selector app=web --port 80 --node-port 30080",
    "fairlead expose web --selector app=web --port 80 --load-balancer-ip 192.168.56.240 --source-range 192.168.0.0/16",
  ]);
  bind(expose, async () => (await import("../commands/expose.ts")).expose);
}
