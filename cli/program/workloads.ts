import { examples, repeated, timeoutOption, waitOption, type Tree } from "./tree.ts";

/** Commands about workloads: what listens on a host. */
export function declareWorkloads({ program, bind }: Tree): void {
  const register = program
    .command("register")
    .summary("make a program on this host an endpoint")
    .description(
      "Tell the fleet of something that listens on a host. Doing it again with other options changes it; what is no longer given is removed.\nWith --follow: registers it, runs it, and takes it out of service when it ends, or before a signal that ends it is passed on. The exit code\nis the program's.",
    )
    .argument("<name>", "name of the workload")
    .argument("[command...]", "with --follow: the program and its arguments, after --")
    .addOption(repeated("--label <key=value>", "label, by which services select it; may be repeated"))
    .addOption(
      repeated(
        "--port <[name=]port[/proto]>",
        "where it listens, as in http=8080 or dns=53/udp; may be repeated; without one, services find it only by number",
      ),
    )
    .addOption(
      repeated(
        "--check <check>",
        "http:[PORT]/path or tcp:PORT; PORT by number or name; may be repeated; commands only from the host's /etc/fairlead/workloads.d/*.yaml",
      ),
    )
    .option("--check-interval <duration>", "time between checks (5s)")
    .option("--check-timeout <duration>", "a check without answer for so long has failed (1s)")
    .option("--check-rise <count>", "so many good results in a row make it ready (1)")
    .option("--check-fall <count>", "so many bad results in a row make it not ready (3)")
    .option("--address <ip>", "where it listens; default: the node's own first address")
    .option("--node <name>", "the host that it runs on; default: this one")
    .option("--weight <number>", "share of new connections relative to the others (1); 0 = none")
    .option("--ttl <duration>", "gone unless renewed in this time (with --follow: 30s)")
    .option("--renew", "stay and renew it; on a signal take it out of service and end")
    .option("--follow", "run a program, and be registered for as long as it runs")
    .addOption(waitOption())
    .addOption(timeoutOption());
  examples(register, [
    "fairlead register web-1 --label app=web --port http=8080 --check http:/healthz",
    "fairlead register db-1 --port 5432 --check tcp:5432 --check-interval 2s --wait",
    "fairlead register web-big --label app=web --port http=8080 --weight 3",
    "fairlead register job-7 --label app=job --port 9000 --ttl 30s --renew",
    "fairlead register web-2 --label app=web --port http=8080 --check http:/healthz --follow -- /usr/bin/web --listen :8080",
  ]);
  bind(register, async () => (await import("../commands/register.ts")).register);

  const deregister = program
    .command("deregister")
    .summary("take a workload out, draining first")
    .description(
      "Take workloads out of the fleet: they get no new connections at once, keep those that they have for their grace period, and are then gone.",
    )
    .argument("<names...>", "names of workloads")
    .option("--now", "do not drain")
    .option("--ignore-not-found", "what is not there is no error")
    .option("--wait", "return when they are gone")
    .addOption(timeoutOption());
  examples(deregister, ["fairlead deregister web-1", "fairlead deregister web-1 web-2 --wait", "fairlead deregister web-1 --now"]);
  bind(deregister, async () => (await import("../commands/deregister.ts")).deregister);

  const drain = program
    .command("drain")
    .summary("give a node or workload no new connections")
    .description("Give all workloads of a node, or one workload, no new connections while there are others. Nothing is deleted.")
    .argument("<what...>", "NODE, node/NAME or workload/NAME")
    .option("--undo", "let them have connections again")
    .addOption(waitOption())
    .addOption(timeoutOption());
  examples(drain, ["fairlead drain vm-1 --wait", "fairlead drain workload/web-1", "fairlead drain vm-1 --undo"]);
  bind(drain, async () => (await import("../commands/drain.ts")).drain);
}
