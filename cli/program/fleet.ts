import { Option } from "commander";
import { examples, type Tree } from "./tree.ts";

/** Commands about the fleet as a whole. */
export function declareFleet({ program, bind }: Tree): void {
  const status = program
    .command("status")
    .summary("the fleet at a glance")
    .description(
      "Show the server, the hosts with how far behind each is and what is wrong on it, and how many objects there are.\nExit code 0: all is well; 1: something is wrong, and the output says what.",
    )
    .addOption(new Option("-o, --output <format>", "form of the output").choices(["table", "json", "yaml"]).default("table"));
  examples(status, ["fairlead status", "fairlead status -o json"]);
  bind(status, async () => (await import("../commands/status.ts")).status);

  const up = program
    .command("up")
    .summary("make this host a fleet of one: server and agent")
    .description(
      "Start server and agent on this host, joined to each other. Where their systemd units are installed, as services, now and at each boot; else\nhere, until a signal comes. Doing it again is harmless. Settings stand in /etc/fairlead/server.yaml.",
    )
    .option("--foreground", "here, even where the units are installed");
  examples(up, ["sudo fairlead up", "sudo fairlead up --foreground"]);
  bind(up, async () => (await import("../commands/up.ts")).up);

  const token = program
    .command("token")
    .summary("join tokens: create, list, delete")
    .description("Tokens with which hosts join the fleet.");
  examples(token, ["fairlead token create > join-token", "fairlead token list", "fairlead token delete k3v9x2"]);
  const create = token
    .command("create")
    .summary("make a join token")
    .description("Make a join token and print it. It is shown once; give it to the host in a file, never as an argument.")
    .option("--ttl <duration>", "how long it may be used", "24h")
    .option("--uses <count>", "how many hosts may join with it", "1")
    .option("--description <text>", "what it is for", "")
    .addOption(new Option("-o, --output <format>", "form of the output").choices(["token", "json", "yaml"]).default("token"));
  examples(create, ["fairlead token create > join-token", "fairlead token create --ttl 1h --uses 20 --description 'rack 3'"]);
  bind(create, async () => (await import("../commands/token.ts")).createToken);
  const list = token
    .command("list")
    .summary("show the join tokens that can still be used")
    .addOption(new Option("-o, --output <format>", "form of the output").choices(["table", "json", "yaml", "name"]).default("table"));
  examples(list, ["fairlead token list"]);
  bind(list, async () => (await import("../commands/token.ts")).listTokens);
  const remove = token
    .command("delete")
    .summary("revoke join tokens")
    .argument("<ids...>", "their ids, as `fairlead token list` shows them");
  examples(remove, ["fairlead token delete k3v9x2"]);
  bind(remove, async () => (await import("../commands/token.ts")).deleteTokens);
}
