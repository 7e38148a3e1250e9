import { Option, type Command } from "commander";
import { examples, type Tree } from "./tree.ts";

/** Commands for scripts and shells. */
export function declareShell({ program, bind }: Tree): void {
  const env = program
    .command("env")
    .summary("print services as environment variables")
    .description(
      "Print the variables by which programs find services, as a kubelet and Docker links make them: WEB_SERVICE_HOST, WEB_SERVICE_PORT, and so on.\nWithout names: of all services of the namespace that have a virtual IP.",
    )
    .argument("[services...]", "names of services")
    .addOption(
      new Option("--format <format>", "shell, dotenv (for --env-file), or json").choices(["shell", "dotenv", "json"]).default("shell"),
    );
  examples(env, ["fairlead env web", 'set -a; eval "$(fairlead env)"; set +a', "fairlead env --format dotenv > services.env"]);
  bind(env, async () => (await import("../commands/env.ts")).env);

  const run = program
    .command("run")
    .summary("start a program with the services as variables")
    .description(
      "Start a program with the variables of `fairlead env` in its environment. Signals are passed on; the exit code is the program's.",
    )
    .usage("[options] -- <command> [args...]")
    .argument("<command...>", "the program and its arguments");
  examples(run, ["fairlead run -- ./my-program --its-own-option", "fairlead run -n shop -- sh -c 'curl http://$WEB_SERVICE_HOST'"]);
  bind(run, async () => (await import("../commands/run.ts")).run);

  const completion = program
    .command("completion")
    .summary("print a completion script for a shell")
    .argument("<shell>", "bash, zsh or fish");
  examples(completion, [
    "source <(fairlead completion bash)",
    "fairlead completion zsh > ~/.zfunc/_fairlead",
    "fairlead completion fish > ~/.config/fish/completions/fairlead.fish",
  ]);
  bind(completion, async () => (await import("../commands/completion.ts")).completionOf(program));

  const names = program.command("__names", { hidden: true }).argument("<kind>");
  bind(names, async () => (await import("../commands/names.ts")).names);

  const version = program.command("version").summary("print the version").option("--server", "and the server's");
  examples(version, ["fairlead version", "fairlead version --server"]);
  bind(version, async () => (await import("../commands/version.ts")).version);

  const config = program.command("config").summary("where the credentials come from");
  examples(config, ["fairlead config path", "fairlead --kubeconfig ./admin.yaml config path"]);
  const path = config.command("path").summary("print the configuration file that is used");
  examples(path, ["fairlead config path"]);
  bind(path, async () => (await import("../commands/config-path.ts")).configPath);

  const help = program.command("help").summary("help on a command, or on exit-codes").argument("[topic...]", "a command, or exit-codes");
  examples(help, ["fairlead help apply", "fairlead help exit-codes"]);
  bind(help, async () => (await import("../commands/help.ts")).helpOf(program));
}

/** Commands with mains of their own, which the launcher starts: here only to be listed. */
export function declareOthers(program: Command): void {
  for (const [name, summary] of [
    ["server", "run the server (see `fairlead server --help`)"],
    ["agent", "run the agent of this host, join it, clean up (see `fairlead agent --help`)"],
    ["dns", "this host's own resolver: install, status, uninstall, containers, lookup (see `fairlead dns --help`)"],
    ["demo", "show the main job on three hosts made of network namespaces"],
  ] as const)
    program
      .command(name)
      .summary(summary)
      .helpOption(false)
      .allowUnknownOption()
      .allowExcessArguments()
      .action(() => program.error(`error: \`fairlead ${name}\` is started by the launcher: run ./fairlead ${name}`, { exitCode: 2 }));
}
