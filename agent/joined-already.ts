import { AppError } from "#proto/error.ts";
import { readMembership, type Membership } from "./config.ts";
import { originOf } from "./join.ts";

export interface WantedMembership {
  readonly server: string;
  /** Only where it was asked for by name. */
  readonly name: string | undefined;
  readonly credentialsFile: string;
}

/**
 * What this host is in the fleet that it is told to join, as it is written down here: a host that starts by `join --run` at each boot needs neither server nor
 * token but the first time. undefined = it has not joined, or what is written is damaged. Throws when it belongs to another fleet, or under another name.
 */
export async function joinedAlready({ server, name, credentialsFile }: WantedMembership): Promise<Membership | undefined> {
  const origin = originOf(server);
  const joined = await readMembership(credentialsFile).catch(() => undefined);
  if (!joined) return undefined;
  const { connection, membership } = joined;
  const leave = `to leave that one: stop its agent, \`fairlead agent cleanup --purge\`, and join again; to join anew and keep what is here: join without --run`;
  if (connection.server !== origin)
    throw new AppError(
      "Usage",
      `this host is ${membership.node} of the fleet at ${connection.server}, not at ${origin} (${credentialsFile})`,
      {
        hint: leave,
      },
    );
  if (name !== undefined && name !== membership.node)
    throw new AppError("Usage", `this host has joined ${origin} as ${membership.node}, not as ${name} (${credentialsFile})`, {
      hint: leave,
    });
  return membership;
}
