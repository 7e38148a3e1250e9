import { z } from "zod";
import { JoinTokenCreated, JoinTokenInfo, type JoinTokenRequest } from "#proto/agents.ts";
import { paths } from "#proto/paths.ts";
import { say, type Invocation } from "../io.ts";
import { durationOption, wholeOption } from "../options.ts";
import { humanDuration } from "#proto/age.ts";
import { clean } from "../output/clean.ts";
import { toJson, toYaml } from "../output/structured.ts";
import { renderTable } from "../output/table.ts";
import { openSession } from "../session.ts";

interface CreateOptions {
  readonly ttl: string;
  readonly uses: string;
  readonly description: string;
  readonly output: "token" | "json" | "yaml";
}

/** The token alone goes to stdout, so that `> file` makes what `agent join --token-file` takes. */
export async function createToken({ options, io }: Invocation<CreateOptions>): Promise<number> {
  const request: JoinTokenRequest = {
    ttlSeconds: Math.ceil(durationOption("--ttl", options.ttl) / 1000),
    uses: wholeOption("--uses", options.uses, { min: 1, max: 10_000 }),
    description: options.description,
  };
  await using session = await openSession(options, io);
  const { body } = await session.client.transport.send({ method: "POST", path: paths.joinTokens, body: request, signal: io.stop });
  const created = JoinTokenCreated.parse(body);
  if (options.output !== "token") {
    io.out(options.output === "json" ? toJson(created) : toYaml(created));
    return 0;
  }
  io.out(`${created.token}\n`);
  say(io, `good for ${created.usesLeft === 1 ? "one host" : `${created.usesLeft} hosts`} until ${created.expiresAt}; shown only now.`);
  say(io, `Put it into a file on the host, then there: sudo fairlead agent join ${session.context.server} --token-file FILE`);
  return 0;
}

const TokenList = z.object({ items: z.array(JoinTokenInfo) });

export async function listTokens({ options, io }: Invocation<{ readonly output: "table" | "json" | "yaml" | "name" }>): Promise<number> {
  await using session = await openSession(options, io);
  const { body } = await session.client.transport.send({ path: paths.joinTokens, signal: io.stop });
  const { items } = TokenList.parse(body);
  if (options.output === "json") io.out(toJson(items));
  else if (options.output === "yaml") io.out(toYaml(items));
  else if (options.output === "name") for (const { id } of items) io.out(`${clean(id)}\n`);
  else if (items.length === 0) say(io, "No join tokens; `fairlead token create` makes one.");
  else
    io.out(
      renderTable(
        ["ID", "USES LEFT", "EXPIRES IN", "DESCRIPTION"],
        items.map(({ id, usesLeft, expiresAt, description }) => [
          id,
          String(usesLeft),
          humanDuration(Date.parse(expiresAt) - Date.now()),
          description === "" ? "<none>" : description,
        ]),
      ),
    );
  return 0;
}

export async function deleteTokens({ args, options, io }: Invocation<object>): Promise<number> {
  await using session = await openSession(options, io);
  for (const id of args) {
    await session.client.transport.send({ method: "DELETE", path: paths.joinToken(id), signal: io.stop });
    io.out(`token "${clean(id)}" deleted\n`);
  }
  return 0;
}
